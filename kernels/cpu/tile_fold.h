// One tile of query rows, for some KV heads, folded over the lanes of a sub-tree by one thread. The heads take turns at
// each stripe: what they read lies together.
#pragma once

#include <span>

#include "kernels/backend.h"
#include "kernels/cpu/kernel_table.h"
#include "kernels/cpu/lane_tree.h"

namespace rotulus::kernels::cpu {

struct TileRows {
  std::size_t first_row = 0;
  std::size_t row_count = 0;
  std::uint32_t first_kv_head = 0;
  std::uint32_t kv_head_count = 0;
};

class TileFold final {
 public:
  // `frequencies`: one per rotated pair. `memory`: memory_floats(task, rows), 64-byte aligned.
  TileFold(const KernelTable& table, const AttendTask& task, std::span<const double> frequencies, TileRows rows,
           float* memory);
  static std::size_t memory_floats(const AttendTask& task, const TileRows& rows);

  // Folds the stripes, which lie in lanes of `span`, and writes the tile's part of `into`.
  void run(LaneSpan span, std::span<const Stripe> stripes, Partial into);

 private:
  // The tree's value for the tile is left in slot `depth`; false if no row sees anything (then it is not written).
  bool fold_span(LaneSpan span, std::span<const Stripe> stripes, std::size_t depth);
  bool fold_lane(std::span<const Stripe> stripes, std::size_t depth);
  bool fold_stripe(const Stripe& stripe, std::uint32_t kv_head, std::size_t depth);
  void finish_lane(std::size_t depth);

  std::uint32_t extend_seen(const KvBlock& block, std::uint32_t first_slot);
  std::uint32_t find_next(const Stripe& stripe, std::uint32_t kv_head, FoldBlock* blocks) const;
  void store_page_lse(std::uint32_t kv_head, const std::uint32_t* block_indices, std::uint32_t count);
  const float* rotated_queries(std::int64_t shift, bool (&in_use)[4]);
  void rotate_rows(std::int64_t shift, float* queries);
  FoldBlock stored(const KvBlock& block, std::uint32_t kv_head) const;

  // The first query head of a row and KV head in the task's operands; both are counted within the tile.
  std::size_t first_head(std::size_t row, std::uint32_t kv_head) const {
    return (rows_.first_row + row) * task_.query_heads + std::size_t{rows_.first_kv_head + kv_head} * group_;
  }
  float* slot_out(std::size_t depth) { return slots_ + depth * slot_floats_; }
  float* slot_lse(std::size_t depth) { return slot_out(depth) + all_row_heads_ * dim_; }

  const KernelTable& table_;
  const AttendTask& task_;
  std::span<const double> frequencies_;
  TileRows rows_;
  std::uint32_t group_;        // query heads per KV head
  std::size_t row_heads_;      // of one KV head
  std::size_t all_row_heads_;  // [kv_heads][row_heads]
  KvLayout layout_;
  std::size_t dim_;
  std::size_t slot_floats_;
  std::int64_t lowest_;   // the smallest position of the tile's rows
  std::int64_t highest_;  // the largest

  // Queries rotated for up to four shifts: a stripe has at most four blocks.
  float* queries_;  // [4][all_row_heads][kQueryStride]
  std::int64_t shifts_[4] = {};
  bool is_cached_[4] = {};
  float* angles_;          // cosines and sines of one row
  std::uint32_t* starts_;  // [row_heads]
  std::uint32_t* limits_;  // [row_heads]
  float* max_;             // [all_row_heads]
  float* sum_;             // [all_row_heads]
  float* page_max_;        // [row_heads][kStripePages] where page lse are asked for, else nullptr
  float* page_sum_;        // the same
  float* merge_weights_;   // [3][all_row_heads]
  float* slots_;           // [kTreeDepth], each out [all_row_heads][head_dim] and lse [all_row_heads]
  float* fold_scratch_;
};

}  // namespace rotulus::kernels::cpu
