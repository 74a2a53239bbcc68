#include "worker/parallel/missed_mass.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

namespace rotulus::worker {
namespace {

using protocol::kPagesPerBlock;

constexpr float kNothing = -std::numeric_limits<float>::infinity();
constexpr double kRoundedOfSum = 1e-4;  // more than adding up logarithms in float32, as attention does, can lose

// The pages of a block that are selected for a KV head.
std::uint8_t mask_of(const memory_store::Selection& selection, std::uint32_t kv_heads, std::uint32_t block,
                     std::uint32_t kv_head) {
  const auto found = std::lower_bound(selection.blocks.begin(), selection.blocks.end(), block);
  if (found == selection.blocks.end() || *found != block) return 0;
  return selection.masks[static_cast<std::size_t>(found - selection.blocks.begin()) * kv_heads + kv_head];
}

}  // namespace

void MissedMass::count_recall(std::size_t chosen, std::size_t wanted) {
  chosen_ += chosen;
  wanted_ += wanted;
}

void MissedMass::estimate(std::vector<CandidatePages::Batch>& batches, const memory_store::Selection& selection,
                          kernels::Stream& stream) {
  const std::uint32_t heads = group_.model.query_heads;
  const std::uint32_t kv_heads = group_.format.kv_heads;
  // The lists of what was read, head by head, then those of what was left out.
  const auto sums = pages_.sum_pages(batches, 2 * heads, stream, [&](const CandidatePages::Batch& batch) {
    std::vector<float> values(2 * heads * batch.page_count(), kNothing);
    for (std::uint32_t head = 0; head < heads; ++head) {
      const float* scores = batch.scores.data() + (head * batch.rows + batch.rows - 1) * batch.page_count();
      for (std::size_t block = 0; block < batch.blocks.size(); ++block) {
        const std::uint8_t mask = mask_of(selection, kv_heads, batch.blocks[block], head / (heads / kv_heads));
        for (std::size_t page = 0; page < kPagesPerBlock; ++page) {
          const std::size_t list = head + (mask >> page & 1u ? 0 : heads);
          const std::size_t at = block * kPagesPerBlock + page;
          values[list * batch.page_count() + at] = scores[at];
        }
      }
    }
    return values;
  });
  read_by_landmarks_.assign(sums.begin(), sums.begin() + heads);
  left_out_by_landmarks_.assign(sums.begin() + heads, sums.end());
}

std::optional<AttentionFailure> MissedMass::bound(std::uint32_t layer, const float* query,
                                                  std::span<const std::int64_t> distances,
                                                  const memory_store::Selection& selection, kernels::Stream& stream) {
  std::vector<memory_store::PinnedBlocks> held;
  auto batches = pages_.make_batches(0);
  std::optional<AttentionFailure> failure = pages_.fetch(layer, protocol::PageLandmark::bounds, batches, held);
  const std::uint32_t heads = group_.model.query_heads;
  for (CandidatePages::Batch& batch : batches) {
    if (!failure) failure = pages_.bound(layer, query, distances, batch, stream);
  }
  if (failure) batches.clear();  // the others go on without our pages: the request has failed
  left_out_at_most_ = pages_.sum_pages(batches, heads, stream, [&](const CandidatePages::Batch& batch) {
    std::vector<float> values = batch.scores;
    for (std::uint32_t head = 0; head < heads; ++head) {
      for (std::size_t block = 0; block < batch.blocks.size(); ++block) {
        const std::uint8_t mask =
            mask_of(selection, group_.format.kv_heads, batch.blocks[block], head / (heads / group_.format.kv_heads));
        for (std::size_t page = 0; page < kPagesPerBlock; ++page) {
          if (mask >> page & 1u) values[head * batch.page_count() + block * kPagesPerBlock + page] = kNothing;
        }
      }
    }
    return values;
  });
  return failure;
}

void MissedMass::measure(std::span<const AttendedPages> pieces, std::span<const float> lse,
                         std::span<const float> lse_of_all, kernels::Stream& stream) {
  const std::uint32_t heads = group_.model.query_heads;
  const std::size_t last = lse.size() - heads;
  std::map<std::uint32_t, std::pair<const AttendedPages*, std::size_t>> attended;  // [block]
  for (const AttendedPages& piece : pieces) {
    for (std::size_t i = 0; i < piece.blocks.size(); ++i) attended[piece.blocks[i]] = {&piece, i};
  }
  auto batches = pages_.make_batches(0);
  const auto read = pages_.sum_pages(batches, heads, stream, [&](const CandidatePages::Batch& batch) {
    std::vector<float> values(heads * batch.page_count(), kNothing);
    for (std::size_t block = 0; block < batch.blocks.size(); ++block) {
      const auto found = attended.find(batch.blocks[block]);
      if (found == attended.end()) continue;
      const auto& [piece, index] = found->second;
      for (std::uint32_t head = 0; head < heads; ++head) {
        const float* shares = piece->page_lse.data() + ((last + head) * piece->blocks.size() + index) * kPagesPerBlock;
        std::copy_n(shares, kPagesPerBlock, values.data() + head * batch.page_count() + block * kPagesPerBlock);
      }
    }
    return values;
  });
  for (std::uint32_t head = 0; head < heads; ++head) {
    const double left_out = double{left_out_by_landmarks_[head]} + read[head] - read_by_landmarks_[head];
    if (std::isnan(left_out)) continue;  // nothing was read of the candidates: there is no scale
    const double share = 1 / (1 + std::exp(lse[last + head] - left_out));
    sum_ += share;
    worst_.worst = std::max(worst_.worst, static_cast<float>(share));
    ++count_;
    if (!left_out_at_most_.empty()) {
      double bound = 1 / (1 + std::exp(double{lse[last + head]} - left_out_at_most_[head] - kRoundedOfSum));
      if (std::isnan(bound)) bound = 1;  // of keys beyond the numbers of f16
      worst_.is_bounded = true;
      bound_sum_ += bound;
      worst_.bound_worst = std::max(worst_.bound_worst, static_cast<float>(bound));
    }
    if (lse_of_all.empty()) continue;
    const double truth =
        std::max(0.0, -std::expm1(double{lse[last + head]} - lse_of_all[lse_of_all.size() - heads + head]));
    worst_.is_audited = true;
    true_sum_ += truth;
    worst_.true_worst = std::max(worst_.true_worst, static_cast<float>(truth));
  }
}

std::optional<protocol::MissedMass> MissedMass::result() const {
  if (count_ == 0) return std::nullopt;
  protocol::MissedMass result = worst_;
  result.mean = static_cast<float>(sum_ / static_cast<double>(count_));
  if (result.is_bounded) result.bound_mean = static_cast<float>(bound_sum_ / static_cast<double>(count_));
  if (wanted_ > 0) result.scan_recall = static_cast<float>(static_cast<double>(chosen_) / static_cast<double>(wanted_));
  if (result.is_audited) result.true_mean = static_cast<float>(true_sum_ / static_cast<double>(count_));
  return result;
}

}  // namespace rotulus::worker
