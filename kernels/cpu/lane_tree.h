// The fixed binary tree over 256 lanes in which partial attentions are merged, and the merge of two of them.
//
//   out = a out_a + b out_b        with the weights of MergeWeights (kernel_table.h)
//
// A side with lse = -inf is the identity, bit for bit; its output is not read. A NaN on either side makes that row head
// NaN.
#pragma once

#include <span>

#include "kernels/backend.h"
#include "kernels/cpu/kernel_table.h"

namespace rotulus::kernels::cpu {

inline constexpr std::uint32_t kLaneCount = 256;
inline constexpr std::size_t kTreeDepth = 9;  // levels of the tree: 256 lanes, 128, ..., one

// Merges row heads [0, count) of b into a, outputs dense [count][head_dim]. `weights` has room for 3 * count floats.
void merge_into(const KernelTable& table, std::size_t head_dim, std::size_t count, float* a, float* lse_a,
                const float* b, const float* lse_b, float* weights);

// Merges a learned sink, a partial with lse = `logit` and an output of zeros, into one row head.
void merge_sink(const KernelTable& table, std::size_t head_dim, float logit, float* out, float* lse);

// True where each span is a node of the tree and no two overlap.
bool are_disjoint_nodes(std::span<const LaneSpan> nodes);

// One vector of attention output and its lse; out may point into anything that stays.
struct RowHeadPartial {
  const float* out;
  float lse;
};

// Merges the partials of disjoint nodes, ascending by lane, along the tree below `root`. scratch: kTreeDepth *
// head_dim floats, where the result may lie. Where all partials are empty lse is -inf, and out may be nullptr.
RowHeadPartial merge_tree(const KernelTable& table, std::size_t head_dim, LaneSpan root,
                          std::span<const LaneSpan> nodes, std::span<const RowHeadPartial> parts, float* scratch);

}  // namespace rotulus::kernels::cpu
