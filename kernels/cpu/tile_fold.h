// One tile of query rows, for one KV head, folded over the lanes of a sub-tree by one thread.
#pragma once

#include <span>

#include "kernels/backend.h"
#include "kernels/cpu/kernel_table.h"
#include "kernels/cpu/lane_tree.h"

namespace rotulus::kernels::cpu {

struct TileRows {
  std::size_t first_row = 0;
  std::size_t row_count = 0;
  std::uint32_t kv_head = 0;
};

class TileFold final {
 public:
  // `frequencies`: one per rotated pair. `memory`: memory_floats(task, rows.row_count), 64-byte aligned.
  TileFold(const KernelTable& table, const AttendTask& task, std::span<const double> frequencies, TileRows rows,
           float* memory);
  static std::size_t memory_floats(const AttendTask& task, std::size_t row_count);

  // Folds the stripes, which lie in lanes of `span`, and writes the tile's part of `into`.
  void run(LaneSpan span, std::span<const Stripe> stripes, Partial into);

 private:
  // The tree's value for the tile is left in slot `depth`; false if no row sees anything (then it is not written).
  bool fold_span(LaneSpan span, std::span<const Stripe> stripes, std::size_t depth);
  bool fold_lane(std::span<const Stripe> stripes, std::size_t depth);
  bool fold_stripe(const Stripe& stripe, std::size_t depth);
  void finish_lane(std::size_t depth);

  std::uint32_t extend_seen(const KvBlock& block, std::uint32_t first_slot);
  void store_page_lse(const std::uint32_t* block_indices, std::uint32_t count);
  const float* rotated_queries(std::int64_t shift, bool (&in_use)[4]);
  void rotate_rows(std::int64_t shift, float* queries);
  FoldBlock stored(const KvBlock& block) const;

  float* slot_out(std::size_t depth) { return slots_ + depth * slot_floats_; }
  float* slot_lse(std::size_t depth) { return slot_out(depth) + row_heads_ * dim_; }

  const KernelTable& table_;
  const AttendTask& task_;
  std::span<const double> frequencies_;
  TileRows rows_;
  std::uint32_t group_;  // query heads per KV head
  std::size_t row_heads_;
  KvLayout layout_;
  std::size_t dim_;
  std::size_t slot_floats_;
  std::int64_t lowest_;   // the smallest position of the tile's rows
  std::int64_t highest_;  // the largest

  // Queries rotated for up to four shifts: a stripe has at most four blocks.
  float* queries_;  // [4][row_heads][kQueryStride]
  std::int64_t shifts_[4] = {};
  bool is_cached_[4] = {};
  float* angles_;          // cosines and sines of one row
  std::uint32_t* starts_;  // [row_heads]
  std::uint32_t* limits_;  // [row_heads]
  float* max_;             // [row_heads]
  float* sum_;             // [row_heads]
  float* page_max_;        // [row_heads][kStripePages] where page lse are asked for, else nullptr
  float* page_sum_;        // the same
  float* merge_weights_;   // [3][row_heads]
  float* slots_;           // [kTreeDepth], each out [row_heads][head_dim] and lse [row_heads]
  float* fold_scratch_;
};

}  // namespace rotulus::kernels::cpu
