#include "kernels/cpu/landmarks.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "kernels/check.h"
#include "kernels/cpu/half.h"
#include "kernels/cpu/kv_codec.h"
#include "kernels/cpu/lane_tree.h"

namespace rotulus::kernels::cpu {
namespace {

constexpr float kNothing = -std::numeric_limits<float>::infinity();
constexpr std::size_t kBlocksPerPiece = 8;     // one KV head of so many blocks is worth handing to a thread
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

// The queries of one KV head's rows, head after head, times the scale.
void take_queries(const ScoreTask& task, std::uint32_t kv_head, float* queries) {
  const std::uint32_t group = task.query_heads / task.kv_heads;
  for (std::uint32_t h = kv_head * group; h < (kv_head + 1) * group; ++h) {
    for (std::size_t row = 0; row < task.rows; ++row) {
      const float* from = task.queries + (row * task.query_heads + h) * task.head_dim;
      for (std::uint32_t c = 0; c < task.head_dim; ++c) *queries++ = from[c] * task.scale;
    }
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
  float* queries = machine.shared.reserve(task.kv_heads * row_heads * task.head_dim);
  for (std::uint32_t head = 0; head < task.kv_heads; ++head) {
    take_queries(task, head, queries + head * row_heads * task.head_dim);
  }
  for (Scratch& scratch : machine.scratch) scratch.reserve(score_scratch_floats(task.head_dim));
  const std::size_t pieces = (task.landmarks.size() + kBlocksPerPiece - 1) / kBlocksPerPiece;
  machine.pool.parallel_for(pieces * task.kv_heads, [&](std::size_t piece, std::size_t thread) {
    const auto head = static_cast<std::uint32_t>(piece % task.kv_heads);
    const std::size_t end = std::min(task.landmarks.size(), (piece / task.kv_heads + 1) * kBlocksPerPiece);
    for (std::size_t block = piece / task.kv_heads * kBlocksPerPiece; block < end; ++block) {
      const std::byte* landmarks = task.landmarks[block] + head * landmark_head_bytes(task.head_dim);
      machine.table.score_block({.landmarks = view_landmarks(landmarks, task.head_dim),
                                 .head_dim = task.head_dim,
                                 .queries = queries + head * row_heads * task.head_dim,
                                 .row_heads = row_heads,
                                 .scores = task.scores + head * row_heads * pages + block * kBlockPages,
                                 .stride = pages,
                                 .scratch = machine.scratch[thread].data()});
    }
  });
  const std::size_t sums = task.query_heads * task.rows;
  machine.pool.parallel_for(task.runs.size(), [&](std::size_t run, std::size_t) {
    const PageRun& pages_of = task.runs[run];
    for (std::size_t i = 0; i < sums; ++i) {
      task.lse[run * sums + i] =
          machine.table.sum_scores(task.scores + i * pages + std::size_t{pages_of.first_block} * kBlockPages,
                                   std::size_t{pages_of.block_count} * kBlockPages);
    }
  });
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
  machine.pool.parallel_for(pieces * task.kv_heads, [&](std::size_t piece, std::size_t) {
    const std::size_t head = piece % task.kv_heads;
    const std::size_t first = piece / task.kv_heads * step;
    const std::size_t count = std::min(step, task.pages - first);
    for (std::size_t i = head * row_heads; i < (head + 1) * row_heads; ++i) {
      machine.table.raise_votes(task.scores + i * task.pages + first, task.lse[i], count,
                                task.votes + head * task.pages + first);
    }
  });
}

}  // namespace rotulus::kernels::cpu
