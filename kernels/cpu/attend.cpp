#include "kernels/cpu/attend.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/check.h"
#include "kernels/cpu/lane_tree.h"
#include "kernels/cpu/tile_fold.h"

namespace rotulus::kernels::cpu {
namespace {

constexpr float kNothing = -std::numeric_limits<float>::infinity();

// Enough pieces that the last one running leaves little idle time; few enough that their hand-over costs nothing.
constexpr std::size_t kPiecesPerThread = 6;
constexpr std::size_t kMergeRowHeads = 64;  // row heads in one piece of a merge

// A tile's queries and running outputs stay in L2 beside the float32 panels of one stripe.
std::size_t tile_row_heads(std::uint32_t head_dim) {
  return head_dim <= 64 ? 384 : head_dim <= 128 ? 192 : 96;
}

// The tiles of a task: runs of rows and of KV heads.
struct Tiling {
  std::size_t all_rows;
  std::uint32_t all_kv_heads;
  std::size_t rows;        // of a tile
  std::uint32_t kv_heads;  // of a tile

  std::size_t row_tiles() const { return (all_rows + rows - 1) / rows; }
  std::size_t head_tiles() const { return (all_kv_heads + kv_heads - 1) / kv_heads; }
  std::size_t count() const { return row_tiles() * head_tiles(); }
  TileRows largest() const { return {0, rows, 0, kv_heads}; }
  // Late rows see the most keys: they go first.
  TileRows tile(std::size_t index) const {
    const std::size_t first_row = (row_tiles() - 1 - index / head_tiles()) * rows;
    const auto first_kv_head = static_cast<std::uint32_t>(index % head_tiles()) * kv_heads;
    return {first_row, std::min(rows, all_rows - first_row), first_kv_head,
            std::min(kv_heads, all_kv_heads - first_kv_head)};
  }
};

// Equal runs of rows, with as many KV heads as there is room for.
Tiling cut_into_tiles(const AttendTask& task) {
  const std::uint32_t heads = task.format.kv_heads;
  const std::size_t group = task.query_heads / heads;
  const std::size_t most = tile_row_heads(task.format.head_dim);
  const std::size_t most_rows = std::max<std::size_t>(1, most / group);
  const std::size_t tiles = (task.rows + most_rows - 1) / most_rows;
  const std::size_t rows = (task.rows + tiles - 1) / tiles;
  const auto kv_heads = static_cast<std::uint32_t>(std::clamp<std::size_t>(most / (rows * group), 1, heads));
  return {.all_rows = task.rows, .all_kv_heads = heads, .rows = rows, .kv_heads = kv_heads};
}

// A sub-tree of lanes whose partial is computed in one go, into the caller's memory if it is a whole node.
struct Leaf {
  std::size_t node = 0;
  LaneSpan span;
  std::span<const Stripe> stripes;
  Partial into;
};

std::span<const Stripe> stripes_in(std::span<const Stripe> stripes, LaneSpan span) {
  const auto before = [](std::uint32_t lane) { return [lane](const Stripe& stripe) { return stripe.lane < lane; }; };
  const auto begin = std::partition_point(stripes.begin(), stripes.end(), before(span.first));
  const auto end = std::partition_point(begin, stripes.end(), before(span.first + span.size));
  return {begin, end};
}

bool can_split(const Leaf& leaf) {
  return leaf.stripes.size() > 1 && leaf.stripes.front().lane != leaf.stripes.back().lane;
}

// Halves a leaf along the tree, past levels at which one side is empty.
std::pair<Leaf, Leaf> split(Leaf leaf) {
  while (true) {
    const LaneSpan low{leaf.span.first, leaf.span.size / 2};
    const LaneSpan high{low.first + low.size, low.size};
    const auto in_low = stripes_in(leaf.stripes, low);
    const auto in_high = stripes_in(leaf.stripes, high);
    if (!in_low.empty() && !in_high.empty()) return {{leaf.node, low, in_low}, {leaf.node, high, in_high}};
    leaf.span = in_low.empty() ? high : low;
  }
}

std::vector<Leaf> cut_into_leaves(const AttendTask& task, std::size_t wanted) {
  std::vector<Leaf> leaves;
  for (std::size_t n = 0; n < task.nodes.size(); ++n) {
    leaves.push_back({n, task.nodes[n], stripes_in(task.stripes, task.nodes[n])});
  }
  const auto weight = [](const Leaf& leaf) { return can_split(leaf) ? leaf.stripes.size() : 0; };
  while (leaves.size() < wanted) {
    const auto heaviest = std::max_element(leaves.begin(), leaves.end(),
                                           [&](const Leaf& a, const Leaf& b) { return weight(a) < weight(b); });
    if (heaviest == leaves.end() || !can_split(*heaviest)) break;
    const auto [low, high] = split(*heaviest);
    *heaviest = low;
    leaves.insert(heaviest + 1, high);
  }
  return leaves;
}

// The leaves of one node, in lane order, and their number; they are adjacent in the list.
std::span<const Leaf> leaves_of(std::span<const Leaf> leaves, std::size_t node) {
  const auto begin = std::partition_point(leaves.begin(), leaves.end(), [&](const Leaf& l) { return l.node < node; });
  const auto end = std::partition_point(begin, leaves.end(), [&](const Leaf& l) { return l.node == node; });
  return {begin, end};
}

// Gives each leaf its memory: the caller's where it is the whole of a node, else some of the machine's.
void place_leaves(Machine& machine, const AttendTask& task, std::vector<Leaf>& leaves) {
  const std::size_t row_heads = task.rows * task.query_heads;
  const std::size_t floats = row_heads * (task.format.head_dim + 1);
  float* memory = machine.shared.reserve(leaves.size() * floats);
  for (Leaf& leaf : leaves) {
    const bool whole = leaves_of(leaves, leaf.node).size() == 1;
    leaf.into = whole ? task.parts[leaf.node] : Partial{memory, memory + row_heads * task.format.head_dim};
    memory += floats;
  }
}

void check_task(const AttendTask& task) {
  const KvFormat& format = task.format;
  KERNELS_CHECK(format.kv_heads > 0 && task.query_heads > 0 && task.query_heads % format.kv_heads == 0,
                task.query_heads, format.kv_heads);
  KERNELS_CHECK(format.head_dim > 0 && format.head_dim % 16 == 0 && format.head_dim <= kMaxHeadDim, format.head_dim);
  KERNELS_CHECK(task.window >= 0 && task.soft_cap >= 0, task.window, task.soft_cap);
  KERNELS_CHECK(task.rope.dims % 2 == 0 && task.rope.dims <= format.head_dim, task.rope.dims, format.head_dim);
  KERNELS_CHECK(task.rope.divisors.empty() || task.rope.divisors.size() == task.rope.dims / 2,
                task.rope.divisors.size(), task.rope.dims);
  KERNELS_CHECK(task.nodes.size() == task.parts.size(), task.nodes.size(), task.parts.size());
  KERNELS_CHECK(are_disjoint_nodes(task.nodes), task.nodes.size());
  KERNELS_CHECK(std::is_sorted(task.nodes.begin(), task.nodes.end(),
                               [](const LaneSpan& a, const LaneSpan& b) { return a.first < b.first; }),
                task.nodes.size());
  std::size_t in_nodes = 0;
  for (const LaneSpan& node : task.nodes) in_nodes += stripes_in(task.stripes, node).size();
  KERNELS_CHECK(in_nodes == task.stripes.size(), in_nodes, task.stripes.size());
}

void check_stripes(const AttendTask& task) {
  std::uint32_t lane = 0;
  for (const Stripe& stripe : task.stripes) {
    KERNELS_CHECK(stripe.lane >= lane && stripe.lane < kLaneCount, stripe.lane, lane);
    lane = stripe.lane;
    KERNELS_CHECK(stripe.block_count >= 1 && stripe.block_count <= kStripeTokens / kBlockTokens, stripe.block_count);
    KERNELS_CHECK(stripe.first_block + std::size_t{stripe.block_count} <= task.blocks.size(), stripe.first_block,
                  stripe.block_count, task.blocks.size());
    const auto blocks = task.blocks.subspan(stripe.first_block, stripe.block_count);
    for (const KvBlock& block : blocks) {
      KERNELS_CHECK(block.token_count >= 1 && block.token_count <= kBlockTokens, block.token_count);
      KERNELS_CHECK(reinterpret_cast<std::uintptr_t>(block.data) % kKvElementAlignment == 0, block.first_position);
    }
    for (std::size_t i = 1; i < blocks.size(); ++i) {
      KERNELS_CHECK(blocks[i - 1].first_position + blocks[i - 1].token_count <= blocks[i].first_position,
                    blocks[i - 1].first_position, blocks[i - 1].token_count, blocks[i].first_position);
    }
  }
}

// `to`: one vector and its lse; zeros where nothing was seen.
void store(const RowHeadPartial& merged, std::size_t dim, float* out, float* lse) {
  if (merged.out == nullptr) {
    std::fill_n(out, dim, 0.0f);
  } else {
    std::memcpy(out, merged.out, dim * sizeof(float));
  }
  *lse = merged.lse;
}

void merge_leaves(Machine& machine, const AttendTask& task, std::span<const Leaf> leaves, LaneSpan root, Partial into) {
  std::vector<LaneSpan> spans;
  for (const Leaf& leaf : leaves) spans.push_back(leaf.span);
  const std::size_t dim = task.format.head_dim;
  const std::size_t row_heads = task.rows * task.query_heads;
  machine.pool.parallel_for((row_heads + kMergeRowHeads - 1) / kMergeRowHeads,
                            [&](std::size_t piece, std::size_t thread) {
                              std::vector<RowHeadPartial> parts(leaves.size());
                              const std::size_t end = std::min(row_heads, (piece + 1) * kMergeRowHeads);
                              for (std::size_t i = piece * kMergeRowHeads; i < end; ++i) {
                                for (std::size_t l = 0; l < leaves.size(); ++l) {
                                  parts[l] = {leaves[l].into.out + i * dim, leaves[l].into.lse[i]};
                                }
                                const RowHeadPartial merged =
                                    merge_tree(machine.table, dim, root, spans, parts, machine.scratch[thread].data());
                                store(merged, dim, into.out + i * dim, into.lse + i);
                              }
                            },
                            task.progress);
}

}  // namespace

std::vector<double> inverse_frequencies(const Rope& rope) {
  // In extended precision, so that the double does not hang on the last bit of a library's pow.
  std::vector<double> frequencies(rope.dims / 2);
  for (std::size_t j = 0; j < frequencies.size(); ++j) {
    const long double exponent = -2.0L * static_cast<long double>(j) / rope.dims;
    const long double plain = std::pow(static_cast<long double>(rope.base), exponent);
    frequencies[j] = static_cast<double>(rope.divisors.empty() ? plain : plain / rope.divisors[j]);
  }
  return frequencies;
}

std::span<const double> RopeFrequencies::of(const Rope& rope) {
  constexpr std::size_t kMostEntries = 4;
  const auto known = std::find_if(entries_.begin(), entries_.end(), [&](const Entry& entry) {
    return entry.rope.dims == rope.dims && entry.rope.base == rope.base && entry.rope.divisors == rope.divisors;
  });
  if (known != entries_.end()) return known->frequencies;
  if (entries_.size() == kMostEntries) entries_.erase(entries_.begin());
  return entries_.emplace_back(Entry{rope, inverse_frequencies(rope)}).frequencies;
}

void attend(Machine& machine, const AttendTask& task) {
  check_task(task);
  check_stripes(task);
  if (task.page_lse != nullptr) {
    std::fill_n(task.page_lse, task.rows * task.query_heads * task.blocks.size() * kBlockPages, kNothing);
  }
  if (task.rows == 0 || task.nodes.empty()) return;
  Tiling tiling = cut_into_tiles(task);
  const std::size_t threads = machine.pool.thread_count();
  const std::size_t wanted = threads == 1 ? 1 : kPiecesPerThread * threads;
  std::vector<Leaf> leaves = cut_into_leaves(task, (wanted + tiling.count() - 1) / tiling.count());
  while (tiling.kv_heads > 1 && tiling.count() * leaves.size() < wanted) tiling.kv_heads = (tiling.kv_heads + 1) / 2;
  place_leaves(machine, task, leaves);
  for (Scratch& scratch : machine.scratch) scratch.reserve(TileFold::memory_floats(task, tiling.largest()));
  const std::span<const double> frequencies = machine.frequencies.of(task.rope);
  machine.pool.parallel_for(
      tiling.count() * leaves.size(),
      [&](std::size_t piece, std::size_t thread) {
        const Leaf& leaf = leaves[piece % leaves.size()];
        TileFold(machine.table, task, frequencies, tiling.tile(piece / leaves.size()), machine.scratch[thread].data())
            .run(leaf.span, leaf.stripes, leaf.into);
      },
      task.progress);
  for (std::size_t n = 0; n < task.nodes.size(); ++n) {
    const auto of_node = leaves_of(leaves, n);
    if (of_node.size() > 1) merge_leaves(machine, task, of_node, task.nodes[n], task.parts[n]);
  }
}

void merge(Machine& machine, const MergeTask& task) {
  KERNELS_CHECK(task.nodes.size() == task.parts.size(), task.nodes.size(), task.parts.size());
  KERNELS_CHECK(are_disjoint_nodes(task.nodes), task.nodes.size());
  std::vector<std::size_t> order(task.nodes.size());
  for (std::size_t n = 0; n < order.size(); ++n) order[n] = n;
  std::sort(order.begin(), order.end(),
            [&](std::size_t a, std::size_t b) { return task.nodes[a].first < task.nodes[b].first; });
  std::vector<LaneSpan> nodes;
  for (const std::size_t n : order) nodes.push_back(task.nodes[n]);
  const std::size_t dim = task.head_dim;
  const std::size_t row_heads = task.rows * task.query_heads;
  for (Scratch& scratch : machine.scratch) scratch.reserve(kTreeDepth * dim);
  machine.pool.parallel_for((row_heads + kMergeRowHeads - 1) / kMergeRowHeads, [&](std::size_t piece,
                                                                                   std::size_t thread) {
    std::vector<RowHeadPartial> parts(order.size());
    const std::size_t end = std::min(row_heads, (piece + 1) * kMergeRowHeads);
    for (std::size_t i = piece * kMergeRowHeads; i < end; ++i) {
      for (std::size_t n = 0; n < order.size(); ++n) {
        const ConstPartial& part = task.parts[order[n]];
        parts[n] = {part.out + i * dim, part.lse[i]};
      }
      const RowHeadPartial merged =
          merge_tree(machine.table, dim, {0, kLaneCount}, nodes, parts, machine.scratch[thread].data());
      float* into = task.into.out + i * dim;
      store(merged, dim, into, task.into.lse + i);
      if (task.tail.out != nullptr) {
        float weights[3];
        merge_into(machine.table, dim, 1, into, task.into.lse + i, task.tail.out + i * dim, task.tail.lse + i, weights);
      }
      if (task.sink_logits != nullptr) {
        merge_sink(machine.table, dim, task.sink_logits[i % task.query_heads], into, task.into.lse + i);
      }
    }
  });
}

}  // namespace rotulus::kernels::cpu
