#include "kernels/cpu/lane_tree.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <utility>

#include "kernels/cpu/elementary.h"

namespace rotulus::kernels::cpu {
namespace {

constexpr float kNothing = -std::numeric_limits<float>::infinity();

void copy(const float* from, std::size_t count, float* to) {
  if (from != to) std::memmove(to, from, count * sizeof(float));
}

}  // namespace

MergeWeights merge_weights(float lse_a, float lse_b) {
  if (lse_b == kNothing) return {1.0f, 0.0f, lse_a};
  if (lse_a == kNothing) return {0.0f, 1.0f, lse_b};
  const double max = lse_a >= lse_b ? lse_a : lse_b;
  const double a = exp_double(lse_a - max);
  const double b = exp_double(lse_b - max);
  const double sum = a + b;  // in [1, 2], or NaN
  return {static_cast<float>(a / sum), static_cast<float>(b / sum), static_cast<float>(max + log_double(sum))};
}

void merge_row_head(const KernelTable& table, std::size_t head_dim, const float* a, float lse_a, const float* b,
                    float lse_b, float* into, float* into_lse) {
  const MergeWeights weights = merge_weights(lse_a, lse_b);
  *into_lse = weights.lse;
  if (lse_b == kNothing) {
    copy(a, head_dim, into);
  } else if (lse_a == kNothing) {
    copy(b, head_dim, into);
  } else {
    table.blend(a, weights.a, b, weights.b, head_dim, into);
  }
}

bool are_disjoint_nodes(std::span<const LaneSpan> nodes) {
  bool taken[kLaneCount] = {};
  for (const LaneSpan& node : nodes) {
    if (!std::has_single_bit(node.size) || node.first % node.size != 0) return false;
    if (node.first >= kLaneCount || node.size > kLaneCount - node.first) return false;
    for (std::uint32_t lane = node.first; lane < node.first + node.size; ++lane) {
      if (std::exchange(taken[lane], true)) return false;
    }
  }
  return true;
}

RowHeadPartial merge_tree(const KernelTable& table, std::size_t head_dim, LaneSpan root,
                          std::span<const LaneSpan> nodes, std::span<const RowHeadPartial> parts, float* scratch) {
  if (nodes.empty()) return {nullptr, kNothing};
  if (nodes.size() == 1) return parts[0];
  const std::uint32_t half = root.size / 2;
  const auto middle = std::lower_bound(nodes.begin(), nodes.end(), root.first + half,
                                       [](const LaneSpan& node, std::uint32_t lane) { return node.first < lane; });
  const auto left = static_cast<std::size_t>(middle - nodes.begin());
  const RowHeadPartial a =
      merge_tree(table, head_dim, {root.first, half}, nodes.first(left), parts.first(left), scratch);
  const RowHeadPartial b = merge_tree(table, head_dim, {root.first + half, half}, nodes.subspan(left),
                                      parts.subspan(left), scratch + head_dim);
  if (b.lse == kNothing) return a;
  if (a.lse == kNothing) return b;
  const MergeWeights weights = merge_weights(a.lse, b.lse);
  table.blend(a.out, weights.a, b.out, weights.b, head_dim, scratch);
  return {scratch, weights.lse};
}

}  // namespace rotulus::kernels::cpu
