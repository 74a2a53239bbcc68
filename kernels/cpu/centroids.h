// The verbs about centroids above the inner kernels.
#pragma once

#include "kernels/backend.h"
#include "kernels/cpu/attend.h"

namespace rotulus::kernels::cpu {

void cluster(Machine& machine, const KvFormat& format, const Rope& rope, std::int64_t first_position,
             std::span<const std::byte* const> blocks, std::byte* centroids);

// Floats of `scratch` below, for rows of one KV head.
std::size_t centroid_scratch_floats(const ScoreTask& task);
// score() by centroids, of one KV head of `count` blocks from `first` on. queries [row_heads][head_dim], times the
// scale; scores [row_heads, pages], of the first of them.
void score_centroids(Machine& machine, const ScoreTask& task, std::uint32_t head, std::size_t first, std::size_t count,
                     const float* queries, float* scores, float* scratch);

}  // namespace rotulus::kernels::cpu
