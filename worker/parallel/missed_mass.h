// What the pages that a selection left out would have weighed in a row's softmax.
//
// Landmarks say what share of the candidates' mass was left out, but not on the scale of the softmax; the pages that
// were read tell the scale, for each query head:
//
//   left out, in truth  ~  left out, by landmarks * (read, in truth / read, by landmarks)
//
// An estimate, not a bound: where landmarks misjudge a page, nothing here shows it. The audit does: it attends to
// everything, where the selection would have shown it, and compares the sums.
//
// Where the context keeps bounds of its keys there is a bound too, for the same rows, layers and heads: what the pages
// left out weigh at most, where the audit would show them, beside what was read.
//
// One row is followed, the question's last; mean and worst are taken over layers and query heads.
// Threads: one. Collective calls as in candidate_pages.h, on which all sums rest: the same bits for any ranks.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "memory_store/selection.h"
#include "worker/parallel/candidate_pages.h"

namespace rotulus::worker {

// What attention found in one piece of this rank's keys (kernels::AttendTask::page_lse).
struct AttendedPages {
  std::span<const std::uint32_t> blocks;
  std::span<const float> page_lse;  // [rows, query_heads, blocks, 8]
};

class MissedMass final {
 public:
  MissedMass(const GroupSetting& group, const CandidatePages& pages) : group_(group), pages_(pages) {}

  // Collective. Of the last of the rows whose scores the batches hold, of all pages.
  void estimate(std::vector<CandidatePages::Batch>& batches, const memory_store::Selection& selection,
                kernels::Stream& stream);
  // `chosen` of `wanted`: the pages that scoring all would have chosen, over the selections that are measured.
  void count_recall(std::size_t chosen, std::size_t wanted);
  // Collective. Likewise, by the bounds of keys, for one query; CandidatePages::bound().
  std::optional<AttentionFailure> bound(std::uint32_t layer, const float* query,
                                        std::span<const std::int64_t> distances,
                                        const memory_store::Selection& selection, kernels::Stream& stream);
  // Collective. What attention over that selection found. lse, of all rows [rows, query_heads]; lse_of_all, likewise of
  // attention to everything: empty where there was no audit, and on ranks that do not report.
  void measure(std::span<const AttendedPages> pieces, std::span<const float> lse, std::span<const float> lse_of_all,
               kernels::Stream& stream);

  std::optional<protocol::MissedMass> result() const;  // nullopt: nothing was measured

 private:
  const GroupSetting& group_;
  const CandidatePages& pages_;
  std::vector<float> read_by_landmarks_;      // [query_heads], ln of sums, of the layer estimated last
  std::vector<float> left_out_by_landmarks_;  // likewise
  std::vector<float> left_out_at_most_;       // [query_heads], likewise by bounds; empty: there are none
  double sum_ = 0;                            // over layers and query heads
  double true_sum_ = 0;
  double bound_sum_ = 0;
  std::size_t count_ = 0;
  std::size_t chosen_ = 0;
  std::size_t wanted_ = 0;
  protocol::MissedMass worst_;
};

}  // namespace rotulus::worker
