// The fixed binary tree over 256 lanes in which partial attentions are merged, and the merge of two of them.
//
//   m = max(lse_a, lse_b),  w_x = exp(lse_x - m)
//   out = (w_a out_a + w_b out_b) / (w_a + w_b),  lse = m + ln(w_a + w_b)        (Milakov & Gimelshein 2018)
//
// A side with lse = -inf is the identity, bit for bit. A NaN on either side makes that row head NaN.
#pragma once

#include <span>

#include "kernels/backend.h"
#include "kernels/cpu/kernel_table.h"

namespace rotulus::kernels::cpu {

inline constexpr std::uint32_t kLaneCount = 256;
inline constexpr std::size_t kTreeDepth = 9;  // levels of the tree: 256 lanes, 128, ..., one

// The weights of a merge: of the two sides' outputs, and the lse of the result. An identity has weight 1 and 0.
struct MergeWeights {
  float a;
  float b;
  float lse;
};
MergeWeights merge_weights(float lse_a, float lse_b);

// Merges one row head; `into` may be a or b.
void merge_row_head(const KernelTable& table, std::size_t head_dim, const float* a, float lse_a, const float* b,
                    float lse_b, float* into, float* into_lse);

// True where each span is a node of the tree and no two overlap.
bool are_disjoint_nodes(std::span<const LaneSpan> nodes);

// One vector of attention output and its lse; out may point into anything that stays.
struct RowHeadPartial {
  const float* out;
  float lse;
};

// Merges the partials of disjoint nodes, ascending by lane, along the tree below `root`. scratch: kTreeDepth *
// head_dim floats, where the result may lie. No nodes: lse = -inf and out = nullptr.
RowHeadPartial merge_tree(const KernelTable& table, std::size_t head_dim, LaneSpan root,
                          std::span<const LaneSpan> nodes, std::span<const RowHeadPartial> parts, float* scratch);

}  // namespace rotulus::kernels::cpu
