#include "kernels/cpu/lane_tree.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <utility>

namespace rotulus::kernels::cpu {
namespace {

constexpr float kNothing = -std::numeric_limits<float>::infinity();

void copy(const float* from, std::size_t count, float* to) {
  if (from != to) std::memmove(to, from, count * sizeof(float));
}

}  // namespace

void merge_into(const KernelTable& table, std::size_t head_dim, std::size_t count, float* a, float* lse_a,
                const float* b, const float* lse_b, float* weights) {
  const MergeWeights into{weights, weights + count, weights + 2 * count};
  table.merge_weights(lse_a, lse_b, count, into);
  for (std::size_t i = 0; i < count; ++i) {
    float* out = a + i * head_dim;
    if (lse_b[i] == kNothing) continue;
    if (lse_a[i] == kNothing) {
      copy(b + i * head_dim, head_dim, out);
    } else {
      table.blend(out, into.a[i], b + i * head_dim, into.b[i], head_dim, out);
    }
    lse_a[i] = into.lse[i];
  }
}

void merge_sink(const KernelTable& table, std::size_t head_dim, float logit, float* out, float* lse) {
  if (logit == kNothing) return;
  float weights[3];
  table.merge_weights(lse, &logit, 1, {weights, weights + 1, weights + 2});
  table.scale(out, weights[0], head_dim, out);
  *lse = weights[2];
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
  if (a.lse == kNothing) {
    copy(b.out, head_dim, scratch);  // out of the way of whoever uses the scratch behind ours next
    return {scratch, b.lse};
  }
  float weights[3];
  table.merge_weights(&a.lse, &b.lse, 1, {weights, weights + 1, weights + 2});
  table.blend(a.out, weights[0], b.out, weights[1], head_dim, scratch);
  return {scratch, weights[2]};
}

}  // namespace rotulus::kernels::cpu
