#include "kernels/cpu/landmarks.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>
#include <vector>

#include "kernels/check.h"
#include "kernels/cpu/elementary.h"
#include "kernels/cpu/half.h"
#include "kernels/cpu/kv_codec.h"
#include "kernels/cpu/lane_tree.h"

namespace rotulus::kernels::cpu {
namespace {

constexpr float kNothing = -std::numeric_limits<float>::infinity();
constexpr std::size_t kBlocksPerPiece = 8;  // one KV head of so many blocks is worth handing to a thread
static_assert(kBlocksPerPiece * kBlockPages == kPanelColumns);
constexpr std::size_t kPagesPerPiece = 16384;  // row heads times pages of a piece of sums or votes

// The means of the pages; `keys` become the deviations from them, as the stored means have it.
void take_means(std::size_t dim, float* keys, std::uint16_t* means) {
  for (std::uint32_t page = 0; page < kBlockPages; ++page) {
    float* first = keys + page * kPageTokens * dim;
    for (std::size_t c = 0; c < dim; ++c) {
      float sum = 0;
      for (std::uint32_t t = 0; t < kPageTokens; ++t) sum += first[t * dim + c];
      const std::uint16_t stored = float_to_f16(sum / static_cast<float>(kPageTokens));
      means[page * dim + c] = stored;
      const float mean = f16_to_float(stored);
      for (std::uint32_t t = 0; t < kPageTokens; ++t) first[t * dim + c] -= mean;
    }
  }
}

std::uint32_t sketch_code(float deviation, float threshold) {
  if (deviation < 0) return deviation < -threshold ? 0 : 1;
  return deviation < threshold ? 2 : 3;
}

void sketch_deviations(std::size_t dim, const float* deviations, std::uint8_t* scales, std::uint32_t* sketch) {
  for (std::size_t c = 0; c < dim; ++c) {
    float squares = 0;
    for (std::uint32_t t = 0; t < kBlockTokens; ++t) squares += deviations[t * dim + c] * deviations[t * dim + c];
    scales[c] = encode_scale(std::sqrt(squares / static_cast<float>(kBlockTokens)));
    const float threshold = kSketchThreshold * decode_scale(scales[c]);
    for (std::uint32_t page = 0; page < kBlockPages; ++page) {
      std::uint32_t word = 0;
      for (std::uint32_t t = 0; t < kPageTokens; ++t) {
        word |= sketch_code(deviations[(page * kPageTokens + t) * dim + c], threshold) << 2 * t;
      }
      sketch[page * dim + c] = word;
    }
  }
}

// Bounds meet a query's positive channels and its negative ones apart.
std::size_t score_depth(const ScoreTask& task) {
  return std::size_t{task.head_dim} * (task.landmark == Landmark::bounds ? 2 : 1);
}

// The queries of one KV head's rows, head after head, times the scale: [row_heads][score_depth].
void take_queries(const ScoreTask& task, std::uint32_t kv_head, float* queries) {
  const std::uint32_t group = task.query_heads / task.kv_heads;
  const std::uint32_t dim = task.head_dim;
  for (std::uint32_t h = kv_head * group; h < (kv_head + 1) * group; ++h) {
    for (std::size_t row = 0; row < task.rows; ++row, queries += score_depth(task)) {
      const float* from = task.queries + (row * task.query_heads + h) * dim;
      for (std::uint32_t c = 0; c < dim; ++c) {
        const float value = from[c] * task.scale;
        queries[c] = task.landmark == Landmark::bounds ? std::max(value, 0.0f) : value;
        if (task.landmark == Landmark::bounds) queries[dim + c] = std::min(value, 0.0f);
      }
    }
  }
}

// The least and the greatest of the 16 codes of a word.
std::pair<std::uint32_t, std::uint32_t> code_bounds(std::uint32_t word) {
  const std::uint32_t low = word & 0x55555555u;
  const std::uint32_t high = word >> 1 & 0x55555555u;
  const bool has[4] = {(~low & ~high & 0x55555555u) != 0, (low & ~high) != 0, (~low & high) != 0, (low & high) != 0};
  return {has[0] ? 0 : has[1] ? 1 : has[2] ? 2 : 3, has[3] ? 3 : has[2] ? 2 : has[1] ? 1 : 0};
}

// What the queries are multiplied with: the pages of a block as columns, [score_depth][kPanelColumns].
void take_columns(const ScoreTask& task, const LandmarkView& landmarks, float* columns) {
  for (std::size_t c = 0; c < task.head_dim; ++c) {
    const float scale = decode_scale(landmarks.scales[c]);
    for (std::size_t page = 0; page < kBlockPages; ++page) {
      const std::size_t at = page * task.head_dim + c;
      const float mean = f16_to_float(landmarks.means[at]);
      if (task.landmark == Landmark::mean) {
        columns[c * kPanelColumns + page] = mean;
        continue;
      }
      const auto [least, greatest] = code_bounds(landmarks.sketch[at]);
      columns[c * kPanelColumns + page] = mean + scale * kSketchLevels[greatest];
      columns[(task.head_dim + c) * kPanelColumns + page] = mean + scale * kSketchLevels[least];
    }
  }
}

// One KV head of `count` blocks from `first` on. scores: [row_heads, pages], of the first of them.
void score_products(Machine& machine, const ScoreTask& task, std::uint32_t head, std::size_t first, std::size_t count,
                    const float* queries, float* scores, float* panel) {
  for (std::size_t i = 0; i < count; ++i) {
    const std::byte* landmarks = task.landmarks[first + i] + head * landmark_head_bytes(task.head_dim);
    take_columns(task, view_landmarks(landmarks, task.head_dim), panel + i * kBlockPages);
  }
  const std::size_t depth = score_depth(task);
  machine.table.multiply_panel({.x = queries,
                                .x_stride = depth,
                                .rows = task.rows * (task.query_heads / task.kv_heads),
                                .panel = panel,
                                .depth = depth,
                                .y = scores,
                                .y_stride = task.landmarks.size() * kBlockPages,
                                .columns = count * kBlockPages,
                                .accumulate = false});
}

// Likewise; every token's product, and the best of a page.
void score_sketches(Machine& machine, const ScoreTask& task, std::uint32_t head, std::size_t first, std::size_t count,
                    const float* queries, float* scores, float* scratch) {
  for (std::size_t i = 0; i < count; ++i) {
    const std::byte* landmarks = task.landmarks[first + i] + head * landmark_head_bytes(task.head_dim);
    machine.table.score_block({.landmarks = view_landmarks(landmarks, task.head_dim),
                               .head_dim = task.head_dim,
                               .queries = queries,
                               .row_heads = task.rows * (task.query_heads / task.kv_heads),
                               .scores = scores + i * kBlockPages,
                               .stride = task.landmarks.size() * kBlockPages,
                               .scratch = scratch});
  }
}

// The value of the tree below `root` for `count` sums at once, in `into`. scratch: 3 * count for each level below.
void merge_below(const KernelTable& table, std::size_t count, LaneSpan root, std::span<const LaneSpan> nodes,
                 std::span<const float* const> parts, float* into, float* scratch) {
  if (nodes.empty()) return std::fill_n(into, count, kNothing), void();
  if (nodes.size() == 1) return std::memcpy(into, parts[0], count * sizeof(float)), void();
  const std::uint32_t half = root.size / 2;
  const auto middle = std::lower_bound(nodes.begin(), nodes.end(), root.first + half,
                                       [](const LaneSpan& node, std::uint32_t lane) { return node.first < lane; });
  const auto left = static_cast<std::size_t>(middle - nodes.begin());
  float* other = scratch;
  float* weights = scratch + count;
  merge_below(table, count, {root.first, half}, nodes.first(left), parts.first(left), into, scratch + 3 * count);
  merge_below(table, count, {root.first + half, half}, nodes.subspan(left), parts.subspan(left), other,
              scratch + 3 * count);
  table.merge_weights(into, other, count, {weights, weights + count, into});
}

}  // namespace

void summarize(Machine& machine, const KvFormat& format, const Rope& rope, std::int64_t first_position,
               const std::byte* block, std::byte* landmarks) {
  const std::size_t dim = format.head_dim;
  const std::vector<double> frequencies = inverse_frequencies(rope);
  const std::size_t pairs = frequencies.size();
  const std::size_t key_floats = std::size_t{kBlockTokens} * dim;
  for (Scratch& scratch : machine.scratch) scratch.reserve(key_floats + 2 * pairs + dim);
  machine.pool.parallel_for(format.kv_heads, [&](std::size_t piece, std::size_t thread) {
    const auto head = static_cast<std::uint32_t>(piece);
    float* keys = machine.scratch[thread].data();  // [128 tokens][head_dim]
    float* angles = keys + key_floats;
    const Rotation back{.cosines = angles,
                        .sines = angles + pairs,
                        .dims = rope.dims,
                        .head_dim = format.head_dim,
                        .neighbours = rope.pairing == RopePairing::neighbours,
                        .scale = 1.0f};
    for (std::uint32_t token = 0; token < kBlockTokens; ++token) {
      float* key = keys + token * dim;
      load_key(format, block, head, token, key);
      machine.table.rope_table(-static_cast<double>(first_position + token), frequencies.data(), pairs, angles,
                               angles + pairs);
      machine.table.rotate(back, key, key);
    }
    const LandmarkView view = view_landmarks(landmarks + head * landmark_head_bytes(format.head_dim), format.head_dim);
    take_means(dim, keys, const_cast<std::uint16_t*>(view.means));
    sketch_deviations(dim, keys, const_cast<std::uint8_t*>(view.scales), const_cast<std::uint32_t*>(view.sketch));
  });
}

void score(Machine& machine, const ScoreTask& task) {
  KERNELS_CHECK(task.kv_heads > 0 && task.query_heads % task.kv_heads == 0, task.query_heads, task.kv_heads);
  KERNELS_CHECK(task.head_dim > 0 && task.head_dim % 16 == 0, task.head_dim);
  const std::size_t row_heads = task.rows * (task.query_heads / task.kv_heads);
  const std::size_t pages = task.landmarks.size() * kBlockPages;
  if (row_heads == 0) return;
  const std::size_t query_floats = row_heads * score_depth(task);
  float* queries = machine.shared.reserve(task.kv_heads * query_floats);
  for (std::uint32_t head = 0; head < task.kv_heads; ++head) take_queries(task, head, queries + head * query_floats);
  for (Scratch& scratch : machine.scratch) {
    scratch.reserve(std::max(score_scratch_floats(task.head_dim), score_depth(task) * kPanelColumns));
  }
  const std::size_t pieces = (task.landmarks.size() + kBlocksPerPiece - 1) / kBlocksPerPiece;
  machine.pool.parallel_for(pieces * task.kv_heads, [&](std::size_t piece, std::size_t thread) {
    const auto head = static_cast<std::uint32_t>(piece % task.kv_heads);
    const std::size_t first = piece / task.kv_heads * kBlocksPerPiece;
    const std::size_t count = std::min(kBlocksPerPiece, task.landmarks.size() - first);
    const auto score_blocks = task.landmark == Landmark::sketch ? score_sketches : score_products;
    score_blocks(machine, task, head, first, count, queries + head * query_floats,
                 task.scores + head * row_heads * pages + first * kBlockPages, machine.scratch[thread].data());
  });
  sum_pages(machine, {task.query_heads * task.rows, pages, task.scores, task.runs, task.lse});
}

void sum_pages(Machine& machine, const PageSumTask& task) {
  machine.pool.parallel_for(task.runs.size(), [&](std::size_t run, std::size_t) {
    const PageRun& pages_of = task.runs[run];
    for (std::size_t i = 0; i < task.lists; ++i) {
      task.sums[run * task.lists + i] =
          machine.table.sum_scores(task.values + i * task.pages + std::size_t{pages_of.first_block} * kBlockPages,
                                   std::size_t{pages_of.block_count} * kBlockPages);
    }
  });
}

void count_share(std::span<const float> logs, float total, float share, std::size_t& count) {
  double sum = 0;
  for (count = 0; count < logs.size() && sum < double{share}; ++count) {
    sum += exp_double(double{logs[count]} - double{total});
  }
}

void merge_sums(Machine& machine, std::size_t count, std::span<const LaneSpan> nodes,
                std::span<const float* const> parts, float* into) {
  KERNELS_CHECK(nodes.size() == parts.size(), nodes.size(), parts.size());
  KERNELS_CHECK(are_disjoint_nodes(nodes), nodes.size());
  std::vector<std::size_t> order(nodes.size());
  for (std::size_t n = 0; n < order.size(); ++n) order[n] = n;
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return nodes[a].first < nodes[b].first; });
  std::vector<LaneSpan> sorted_nodes;
  std::vector<const float*> sorted_parts;
  for (const std::size_t n : order) {
    sorted_nodes.push_back(nodes[n]);
    sorted_parts.push_back(parts[n]);
  }
  float* scratch = machine.shared.reserve(3 * count * kTreeDepth);
  merge_below(machine.table, count, {0, kLaneCount}, sorted_nodes, sorted_parts, into, scratch);
}

void vote(Machine& machine, const VoteTask& task) {
  const std::size_t row_heads = task.rows * (task.query_heads / task.kv_heads);
  const std::size_t step = std::max<std::size_t>(16, kPagesPerPiece / std::max<std::size_t>(1, row_heads) / 16 * 16);
  const std::size_t pieces = (task.pages + step - 1) / step;
  for (Scratch& scratch : machine.scratch) scratch.reserve(3 * step);
  machine.pool.parallel_for(pieces * task.kv_heads, [&](std::size_t piece, std::size_t thread) {
    const std::size_t head = piece % task.kv_heads;
    const std::size_t first = piece / task.kv_heads * step;
    const std::size_t count = std::min(step, task.pages - first);
    float* votes = task.votes + head * task.pages + first;
    float* shares = machine.scratch[thread].data();
    for (std::size_t i = head * row_heads; i < (head + 1) * row_heads; ++i) {
      const float* scores = task.scores + i * task.pages + first;
      if (task.rule == VoteRule::maximum) {
        machine.table.raise_votes(scores, task.lse[i], count, votes);
        continue;
      }
      for (std::size_t page = 0; page < count; ++page) shares[page] = scores[page] - task.lse[i];
      machine.table.merge_weights(votes, shares, count, {shares + count, shares + 2 * count, votes});
    }
  });
}

}  // namespace rotulus::kernels::cpu
