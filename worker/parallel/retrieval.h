// What one running request reads of its context: the blocks that every row sees, the pages chosen for a tile of rows
// in each layer, and the votes from which pages are pinned and evidence is told.
//
//   sinks     the first block
//   window    the last `local_tokens` of the document: from block floor((token_count - local_tokens) / 128) on
//   selected  the best pages of the blocks between them, for each layer and KV head: pins first, then by votes made
//             from landmarks, until the budget is full
//
// Rows inside the model's window see every block where it truly stands. Rows beyond it see the window there, and sinks
// and selected blocks as if they stood in the 128 positions before it, offsets kept: no distance exceeds what the model
// was trained on. The window is the document's, not the row's, so it does not move while the tail grows.
//
// Invariants:
//   1. Every rank makes the same selection: sums meet in the lanes' tree, best lists and votes by maximum, ties by
//   page.
//   2. A selection depends on the rows of its tile, the landmarks and the pins only.
//
// Threads: one. The calls marked collective are made by all ranks together, also where this rank has failed.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "memory_store/selection.h"
#include "protocol/messages.h"
#include "worker/parallel/group_setting.h"
#include "worker/parallel/layout.h"

namespace rotulus::worker {

class Retrieval final {
 public:
  // `spec.mode` is exact or retrieval. Under exact attention every block is visible, and only votes are taken.
  // `chunks`, of a complete context of `token_count` tokens, and `group` are borrowed. `window`: of the model.
  Retrieval(const GroupSetting& group, const protocol::AttentionSpec& spec, const std::vector<ChunkLocation>& chunks,
            std::uint64_t token_count, std::uint32_t window);

  // Whether anything lies between sinks and window of such a context.
  static bool has_candidates(const protocol::AttentionSpec& spec, std::uint64_t token_count);
  bool selects() const { return first_candidate_ < end_candidate_; }
  // A row of an answer makes a selection where its position is a multiple; the rows behind it use it too.
  static constexpr std::int64_t kSelectionInterval = 8;

  // Collective. Chooses pages for rows with these (not rotated) queries [rows, query_heads, head_dim].
  std::optional<AttentionFailure> select(std::uint32_t layer, std::size_t rows, const float* queries,
                                         kernels::Stream& stream);
  // What rows whose tile ends at `tile_end` see in this layer, by the last selection. Valid until the next one.
  std::vector<VisibleBlock> visible_blocks(std::uint32_t layer, std::int64_t tile_end) const;
  std::uint64_t attended_tokens() const;  // of the context: the most of any layer and KV head

  // -- votes ----------------------------------------------------------------------------------------------------

  // Raises the votes of the pages of `block_indices` to their share of some row's softmax, as a logarithm.
  // page_lse [rows, query_heads, blocks, 8], lse [rows, query_heads].
  void vote(std::span<const std::uint32_t> block_indices, std::span<const float> page_lse, std::span<const float> lse);
  // Collective. Ends the votes: tells the evidence, and pins its best pages with their neighbours.
  void count_votes();
  const std::vector<protocol::Evidence>& evidence() const { return evidence_; }
  std::size_t pinned_pages() const { return pins_.size(); }

 private:
  struct OwnLane {
    std::uint32_t lane = 0;
    std::vector<std::uint32_t> blocks;  // ascending
  };
  struct Batch;

  std::vector<Batch> make_batches() const;
  bool has_foreign_landmarks() const;
  std::optional<AttentionFailure> fetch_landmarks(std::uint32_t layer);
  std::optional<AttentionFailure> score(std::uint32_t layer, std::size_t rows, const float* queries, Batch& batch,
                                        kernels::Stream& stream);
  std::vector<float> sum_over_ranks(const std::vector<Batch>& batches, std::size_t count, kernels::Stream& stream);
  std::vector<std::vector<memory_store::ScoredPage>> best_of_all(const std::vector<Batch>& batches);
  std::vector<memory_store::ScoredPage> merge_lists(std::vector<memory_store::ScoredPage> own, std::size_t count);

  const GroupSetting& group_;
  protocol::AttentionSpec spec_;
  const std::vector<ChunkLocation>& chunks_;
  std::uint64_t token_count_;
  std::uint32_t window_;
  std::uint32_t first_candidate_ = 0;  // blocks that may be selected
  std::uint32_t end_candidate_ = 0;
  std::vector<OwnLane> lanes_;                       // of this rank, with candidates
  bool has_foreign_landmarks_ = false;               // on any rank
  std::vector<memory_store::Selection> selections_;  // [layer]
  std::vector<float> votes_;                         // [page]; of this rank's lanes
  std::vector<std::uint32_t> pins_;                  // ascending
  std::vector<protocol::Evidence> evidence_;
};

}  // namespace rotulus::worker
