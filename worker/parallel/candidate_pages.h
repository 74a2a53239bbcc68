// The pages of a context that may be selected, as far as their lanes are this rank's: what their landmarks promise to
// some rows, and sums over the pages of all ranks.
//
// A rank works through its lanes in batches, each of whole lanes whose landmarks are in memory together. What is added
// up goes page by page within a lane, lane by lane along the tree in which partial attentions meet, so it has the same
// bits on any number of ranks.
//
// Threads: one. The calls marked collective are made by all ranks together, also where this rank has failed.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "memory_store/selection.h"
#include "protocol/attention.h"
#include "worker/parallel/group_setting.h"
#include "worker/parallel/layout.h"

namespace rotulus::worker {

class CandidatePages final {
 public:
  // Blocks [first, end) of a context; `chunks` and `group` are borrowed.
  CandidatePages(const GroupSetting& group, const std::vector<ChunkLocation>& chunks, std::uint32_t first,
                 std::uint32_t end);

  bool is_empty() const { return first_ >= end_; }
  bool contains(std::uint32_t block) const { return block >= first_ && block < end_; }
  std::size_t page_count() const { return is_empty() ? 0 : (end_ - first_) * std::size_t{protocol::kPagesPerBlock}; }
  std::uint32_t first_block() const { return first_; }
  std::uint32_t end_block() const { return end_; }

  struct Batch {
    std::vector<std::uint32_t> blocks;
    std::vector<std::uint8_t> head_masks;  // [blocks, kv_heads], the pages that take part; empty: all
    std::vector<kernels::PageRun> runs;    // one a lane
    std::vector<kernels::LaneSpan> nodes;
    std::size_t rows = 0;       // scored last
    std::vector<float> scores;  // [query_heads, rows, pages]; -inf where a page takes no part
    std::vector<float> votes;   // [lists, pages]
    std::vector<float> sums;    // [runs, …]: what is to be added up over all pages
    std::size_t page_count() const { return blocks.size() * protocol::kPagesPerBlock; }
    // For the KV head; head 0 speaks for a list of all heads.
    bool takes_part(std::size_t block, std::uint32_t page, std::uint32_t kv_heads, std::size_t kv_head) const {
      return head_masks.empty() || (head_masks[block * kv_heads + kv_head] >> page & 1u) != 0;
    }
  };
  // Of all pages, or of those `among` alone.
  std::vector<Batch> make_batches(std::size_t lists, const memory_store::Selection* among = nullptr) const;

  // Collective. Brings what these pages are scored by, where it lies on volumes of other ranks, into memory: it is
  // there as long as `held` is.
  std::optional<AttentionFailure> fetch(std::uint32_t layer, protocol::PageLandmark landmark,
                                        const std::vector<Batch>& batches,
                                        std::vector<memory_store::PinnedBlocks>& held) const;
  // Scores the pages of the batch for these (not rotated) queries [rows, query_heads, head_dim].
  std::optional<AttentionFailure> score(std::uint32_t layer, protocol::PageLandmark landmark, std::size_t rows,
                                        const float* queries, Batch& batch, kernels::Stream& stream) const;
  // Gives the batch as scores [query_heads, pages] the most that its pages can weigh to one (not rotated) query
  // [query_heads, head_dim], by the bounds of their keys. distances: of the row from where each candidate is shown.
  std::optional<AttentionFailure> bound(std::uint32_t layer, const float* query,
                                        std::span<const std::int64_t> distances, Batch& batch,
                                        kernels::Stream& stream) const;

  // Collective. The batches' `sums` of `count` lists, over all lanes of all ranks.
  std::vector<float> sum_over_ranks(const std::vector<Batch>& batches, std::size_t count,
                                    kernels::Stream& stream) const;
  // Collective. ln sum exp of each of `lists` lists over all pages: values(batch) is [lists, pages of the batch].
  std::vector<float> sum_pages(std::vector<Batch>& batches, std::size_t lists, kernels::Stream& stream,
                               const std::function<std::vector<float>(const Batch&)>& values) const;

 private:
  struct OwnLane {
    std::uint32_t lane = 0;
    std::vector<std::uint32_t> blocks;  // ascending
  };
  bool has_foreign_landmarks() const;
  // Those of the batch's blocks, each as it lies in memory while `pinned` lives.
  std::optional<AttentionFailure> load(std::uint32_t layer, protocol::PageLandmark landmark, const Batch& batch,
                                       memory_store::PinnedBlocks& pinned,
                                       std::vector<const std::byte*>& landmarks) const;

  const GroupSetting& group_;
  const std::vector<ChunkLocation>& chunks_;
  std::uint32_t first_;
  std::uint32_t end_;
  std::vector<OwnLane> lanes_;          // of this rank, with candidates
  bool has_foreign_landmarks_ = false;  // on any rank
};

}  // namespace rotulus::worker
