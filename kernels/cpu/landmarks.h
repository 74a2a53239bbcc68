// The verbs about landmarks above the inner kernels.
#pragma once

#include "kernels/backend.h"
#include "kernels/cpu/attend.h"

namespace rotulus::kernels::cpu {

// The 128 keys of one KV head of a stored block as they are before they turn, [128][head_dim]. frequencies:
// inverse_frequencies(rope); scratch: unrotate_scratch_floats().
void load_unrotated(Machine& machine, const KvFormat& format, const Rope& rope, std::span<const double> frequencies,
                    std::int64_t first_position, const std::byte* block, std::uint32_t head, float* keys,
                    float* scratch);
inline std::size_t unrotate_scratch_floats(std::span<const double> frequencies) {
  return 2 * frequencies.size();
}

void summarize(Machine& machine, const KvFormat& format, const Rope& rope, std::int64_t first_position,
               const std::byte* block, std::byte* landmarks, std::byte* bounds);
void score(Machine& machine, const ScoreTask& task);
void bound(Machine& machine, const BoundTask& task);
void merge_sums(Machine& machine, std::size_t count, std::span<const LaneSpan> nodes,
                std::span<const float* const> parts, float* into);
void vote(Machine& machine, const VoteTask& task);
void sum_pages(Machine& machine, const PageSumTask& task);
void count_share(std::span<const float> logs, float total, float share, std::size_t& count);

}  // namespace rotulus::kernels::cpu
