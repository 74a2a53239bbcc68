#include "kernels/cpu/landmarks.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>
#include <vector>

#include "kernels/check.h"
#include "kernels/cpu/centroids.h"
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

// The bounds of the pages' keys.
void take_bounds(std::size_t dim, const float* keys, std::uint16_t* lows, std::uint16_t* highs) {
  for (std::uint32_t page = 0; page < kBlockPages; ++page) {
    const float* first = keys + page * kPageTokens * dim;
    for (std::size_t c = 0; c < dim; ++c) {
      float low = first[c], high = first[c];
      for (std::uint32_t t = 1; t < kPageTokens; ++t) {
        low = std::min(low, first[t * dim + c]);
        high = std::max(high, first[t * dim + c]);
      }
      lows[page * dim + c] = f16_below(low);
      highs[page * dim + c] = f16_above(high);
    }
  }
}

// Bounds meet a query's positive channels and its negative ones apart.
bool has_two_sides(Landmark landmark) {
  return landmark == Landmark::bounds || landmark == Landmark::sketched_bounds;
}
std::size_t score_depth(const ScoreTask& task) {
  return std::size_t{task.head_dim} * (has_two_sides(task.landmark) ? 2 : 1);
}
void split_sides(std::uint32_t dim, const float* query, float* sides) {
  for (std::uint32_t c = 0; c < dim; ++c) {
    sides[c] = std::max(query[c], 0.0f);
    sides[dim + c] = std::min(query[c], 0.0f);
  }
}

// The queries of one KV head's rows, head after head, times the scale: [row_heads][score_depth].
void take_queries(const ScoreTask& task, std::uint32_t kv_head, float* queries) {
  const std::uint32_t group = task.query_heads / task.kv_heads;
  const std::uint32_t dim = task.head_dim;
  for (std::uint32_t h = kv_head * group; h < (kv_head + 1) * group; ++h) {
    for (std::size_t row = 0; row < task.rows; ++row, queries += score_depth(task)) {
      const float* from = task.queries + (row * task.query_heads + h) * dim;
      float scaled[kMaxHeadDim];
      float* to = has_two_sides(task.landmark) ? scaled : queries;
      for (std::uint32_t c = 0; c < dim; ++c) to[c] = from[c] * task.scale;
      if (has_two_sides(task.landmark)) split_sides(dim, scaled, queries);
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
void take_bound_columns(std::size_t dim, const BoundsView& bounds, float* columns) {
  for (std::size_t c = 0; c < dim; ++c) {
    for (std::size_t page = 0; page < kBlockPages; ++page) {
      columns[c * kPanelColumns + page] = f16_to_float(bounds.highs[page * dim + c]);
      columns[(dim + c) * kPanelColumns + page] = f16_to_float(bounds.lows[page * dim + c]);
    }
  }
}

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

// The pages of a block that are scored for a KV head.
std::uint8_t pages_of(const ScoreTask& task, std::uint32_t head, std::size_t block) {
  return task.head_masks.empty() ? 0xff : task.head_masks[block * task.kv_heads + head];
}

// … and what the others are worth to its rows. scores: as below.
void hide_others(const ScoreTask& task, std::uint32_t head, std::size_t first, std::size_t count, float* scores) {
  if (task.head_masks.empty()) return;
  const std::size_t row_heads = task.rows * (task.query_heads / task.kv_heads);
  for (std::size_t i = 0; i < row_heads; ++i, scores += task.landmarks.size() * kBlockPages) {
    for (std::size_t page = 0; page < count * kBlockPages; ++page) {
      const std::uint8_t pages = pages_of(task, head, first + page / kBlockPages);
      if ((pages >> page % kBlockPages & 1u) == 0) scores[page] = kNothing;
    }
  }
}

// One KV head of `count` blocks from `first` on. scores: [row_heads, pages], of the first of them.
void score_products(Machine& machine, const ScoreTask& task, std::uint32_t head, std::size_t first, std::size_t count,
                    const float* queries, float* scores, float* panel) {
  for (std::size_t i = 0; i < count; ++i) {
    const std::byte* block = task.landmarks[first + i];
    float* columns = panel + i * kBlockPages;
    if (task.landmark == Landmark::bounds) {
      const std::byte* bounds = block + head * bounds_head_bytes(task.head_dim);
      take_bound_columns(task.head_dim, view_bounds(bounds, task.head_dim), columns);
    } else {
      const std::byte* landmarks = block + head * landmark_head_bytes(task.head_dim);
      take_columns(task, view_landmarks(landmarks, task.head_dim), columns);
    }
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
                               .pages = pages_of(task, head, first + i),
                               .queries = queries,
                               .row_heads = task.rows * (task.query_heads / task.kv_heads),
                               .scores = scores + i * kBlockPages,
                               .stride = task.landmarks.size() * kBlockPages,
                               .scratch = scratch});
  }
}

// -- bounds of what pages weigh ---------------------------------------------------------------------------------

// One KV head of a task, on one thread.
class BoundOfHead final {
 public:
  BoundOfHead(Machine& machine, const BoundTask& task, const std::vector<double>& frequencies, std::uint32_t kv_head,
              float* scratch)
      : machine_(machine),
        task_(task),
        frequencies_(frequencies),
        kv_head_(kv_head),
        group_(task.query_heads / task.kv_heads),
        queries_(scratch),
        panel_(queries_ + kBlockTokens * group_ * 2 * task.head_dim),
        products_(panel_ + 2 * std::size_t{task.head_dim} * kPanelColumns),
        angles_(products_ + kPageTokens * group_ * kPanelColumns) {}

  static std::size_t scratch_floats(const BoundTask& task, std::size_t pairs) {
    const std::size_t group = task.query_heads / task.kv_heads;
    return kBlockTokens * group * 2 * task.head_dim + 2 * std::size_t{task.head_dim} * kPanelColumns +
           kPageTokens * group * kPanelColumns + 2 * pairs + task.head_dim;
  }

  // Blocks [first, first + count), at most kPanelColumns of one distance.
  void bound(std::size_t first, std::size_t count) {
    turn_queries(task_.distances[first]);
    for (std::size_t page = 0; page < kBlockPages; ++page) {
      float norms[kPanelColumns];
      for (std::size_t i = 0; i < count; ++i) norms[i] = take_column(task_.bounds[first + i], page, panel_ + i);
      const std::size_t depth = 2 * std::size_t{task_.head_dim};
      machine_.table.multiply_panel({.x = queries_ + page * kPageTokens * group_ * depth,
                                     .x_stride = depth,
                                     .rows = kPageTokens * group_,
                                     .panel = panel_,
                                     .depth = depth,
                                     .y = products_,
                                     .y_stride = kPanelColumns,
                                     .columns = count,
                                     .accumulate = false});
      for (std::size_t h = 0; h < group_; ++h) {
        float* most = task_.most + (kv_head_ * group_ + h) * task_.bounds.size() * kBlockPages + page;
        for (std::size_t i = 0; i < count; ++i) most[(first + i) * kBlockPages] = sum_tokens(h, i, norms[i]);
      }
    }
  }

 private:
  // [8 pages][16 tokens][group][2 head_dim], times the scale.
  void turn_queries(std::int64_t distance) {
    const std::size_t dim = task_.head_dim;
    const std::size_t pairs = frequencies_.size();
    float* turned = angles_ + 2 * pairs;
    const Rotation rotation{.cosines = angles_,
                            .sines = angles_ + pairs,
                            .dims = task_.rope.dims,
                            .head_dim = task_.head_dim,
                            .neighbours = task_.rope.pairing == RopePairing::neighbours,
                            .scale = task_.scale};
    for (std::uint32_t t = 0; t < kBlockTokens; ++t) {
      machine_.table.rope_table(static_cast<double>(distance - t), frequencies_.data(), pairs, angles_,
                                angles_ + pairs);
      for (std::size_t h = 0; h < group_; ++h) {
        machine_.table.rotate(rotation, task_.query + (kv_head_ * group_ + h) * dim, turned);
        split_sides(task_.head_dim, turned, queries_ + (t * group_ + h) * 2 * dim);
      }
    }
  }

  // Returns what no key of the page is longer than.
  float take_column(const std::byte* block, std::size_t page, float* column) const {
    const std::size_t dim = task_.head_dim;
    const BoundsView bounds = view_bounds(block + kv_head_ * bounds_head_bytes(task_.head_dim), task_.head_dim);
    float squares = 0;
    for (std::size_t c = 0; c < dim; ++c) {
      const float low = f16_to_float(bounds.lows[page * dim + c]);
      const float high = f16_to_float(bounds.highs[page * dim + c]);
      column[c * kPanelColumns] = high;
      column[(dim + c) * kPanelColumns] = low;
      squares += std::max(low * low, high * high);
    }
    return std::sqrt(squares);
  }

  // What the page weighs to a head. Each of the two products, with the angles before it, rounds off at most so many
  // units of the operands' lengths.
  float sum_tokens(std::size_t h, std::size_t column, float key_norm) const {
    const float* query = task_.query + (kv_head_ * group_ + h) * task_.head_dim;
    float squares = 0;
    for (std::uint32_t c = 0; c < task_.head_dim; ++c) squares += query[c] * query[c];
    const auto units = static_cast<float>(4 * task_.head_dim + 64);
    const float rounded = units * 0x1p-24f * task_.scale * std::sqrt(squares) * key_norm;
    float scores[kPageTokens];
    for (std::uint32_t t = 0; t < kPageTokens; ++t) {
      scores[t] = products_[(t * group_ + h) * kPanelColumns + column] + rounded;
    }
    if (task_.soft_cap > 0) machine_.table.soft_cap(task_.soft_cap, kPageTokens, scores);
    return machine_.table.sum_scores(scores, kPageTokens) + kRoundedOfSum;
  }

  static constexpr float kRoundedOfSum = 0x1p-12f;  // of logarithms, exponentials and the cap, on both sides

  Machine& machine_;
  const BoundTask& task_;
  const std::vector<double>& frequencies_;
  const std::size_t kv_head_;
  const std::size_t group_;
  float* queries_;
  float* panel_;     // [2 head_dim][kPanelColumns]
  float* products_;  // [16 tokens][group][kPanelColumns]
  float* angles_;    // cosines, sines; behind them one head
};

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

void load_unrotated(Machine& machine, const KvFormat& format, const Rope& rope, std::span<const double> frequencies,
                    std::int64_t first_position, const std::byte* block, std::uint32_t head, float* keys,
                    float* scratch) {
  const std::size_t pairs = frequencies.size();
  const Rotation back{.cosines = scratch,
                      .sines = scratch + pairs,
                      .dims = rope.dims,
                      .head_dim = format.head_dim,
                      .neighbours = rope.pairing == RopePairing::neighbours,
                      .scale = 1.0f};
  for (std::uint32_t token = 0; token < kBlockTokens; ++token) {
    float* key = keys + std::size_t{token} * format.head_dim;
    load_key(format, block, head, token, key);
    machine.table.rope_table(-static_cast<double>(first_position + token), frequencies.data(), pairs, scratch,
                             scratch + pairs);
    machine.table.rotate(back, key, key);
  }
}

void summarize(Machine& machine, const KvFormat& format, const Rope& rope, std::int64_t first_position,
               const std::byte* block, std::byte* landmarks, std::byte* bounds) {
  const std::size_t dim = format.head_dim;
  const std::vector<double> frequencies = inverse_frequencies(rope);
  const std::size_t key_floats = std::size_t{kBlockTokens} * dim;
  for (Scratch& scratch : machine.scratch) scratch.reserve(key_floats + unrotate_scratch_floats(frequencies));
  machine.pool.parallel_for(format.kv_heads, [&](std::size_t piece, std::size_t thread) {
    const auto head = static_cast<std::uint32_t>(piece);
    float* keys = machine.scratch[thread].data();  // [128 tokens][head_dim]
    load_unrotated(machine, format, rope, frequencies, first_position, block, head, keys, keys + key_floats);
    if (bounds) {
      const BoundsView view = view_bounds(bounds + head * bounds_head_bytes(format.head_dim), format.head_dim);
      take_bounds(dim, keys, const_cast<std::uint16_t*>(view.lows), const_cast<std::uint16_t*>(view.highs));
    }
    if (!landmarks) return;
    const LandmarkView view = view_landmarks(landmarks + head * landmark_head_bytes(format.head_dim), format.head_dim);
    take_means(dim, keys, const_cast<std::uint16_t*>(view.means));
    sketch_deviations(dim, keys, const_cast<std::uint8_t*>(view.scales), const_cast<std::uint32_t*>(view.sketch));
  });
}

void score(Machine& machine, const ScoreTask& task) {
  KERNELS_CHECK(task.kv_heads > 0 && task.query_heads % task.kv_heads == 0, task.query_heads, task.kv_heads);
  KERNELS_CHECK(task.head_dim > 0 && task.head_dim % 16 == 0, task.head_dim);
  KERNELS_CHECK(task.head_masks.empty() || task.head_masks.size() == task.landmarks.size() * task.kv_heads,
                task.head_masks.size(), task.landmarks.size());
  KERNELS_CHECK(task.landmark != Landmark::centroid || task.places.size() == task.landmarks.size(), task.places.size(),
                task.landmarks.size());
  const std::size_t row_heads = task.rows * (task.query_heads / task.kv_heads);
  const std::size_t pages = task.landmarks.size() * kBlockPages;
  if (row_heads == 0) return;
  const std::size_t query_floats = row_heads * score_depth(task);
  float* queries = machine.shared.reserve(task.kv_heads * query_floats);
  for (std::uint32_t head = 0; head < task.kv_heads; ++head) take_queries(task, head, queries + head * query_floats);
  for (Scratch& scratch : machine.scratch) {
    scratch.reserve(std::max(
        {score_scratch_floats(task.head_dim), score_depth(task) * kPanelColumns, centroid_scratch_floats(task)}));
  }
  const std::size_t pieces = (task.landmarks.size() + kBlocksPerPiece - 1) / kBlocksPerPiece;
  machine.pool.parallel_for(pieces * task.kv_heads, [&](std::size_t piece, std::size_t thread) {
    const auto head = static_cast<std::uint32_t>(piece % task.kv_heads);
    const std::size_t first = piece / task.kv_heads * kBlocksPerPiece;
    const std::size_t count = std::min(kBlocksPerPiece, task.landmarks.size() - first);
    const auto score_blocks = task.landmark == Landmark::sketch     ? score_sketches
                              : task.landmark == Landmark::centroid ? score_centroids
                                                                    : score_products;
    float* scores = task.scores + head * row_heads * pages + first * kBlockPages;
    score_blocks(machine, task, head, first, count, queries + head * query_floats, scores,
                 machine.scratch[thread].data());
    hide_others(task, head, first, count, scores);
  });
  sum_pages(machine, {task.query_heads * task.rows, pages, task.scores, task.runs, task.lse});
}

void bound(Machine& machine, const BoundTask& task) {
  KERNELS_CHECK(task.kv_heads > 0 && task.query_heads % task.kv_heads == 0, task.query_heads, task.kv_heads);
  KERNELS_CHECK(task.distances.size() == task.bounds.size(), task.distances.size(), task.bounds.size());
  const std::vector<double> frequencies = inverse_frequencies(task.rope);
  for (Scratch& scratch : machine.scratch) scratch.reserve(BoundOfHead::scratch_floats(task, frequencies.size()));
  const std::size_t blocks = task.bounds.size();
  const std::size_t pieces = (blocks + kPanelColumns - 1) / kPanelColumns;
  machine.pool.parallel_for(pieces * task.kv_heads, [&](std::size_t piece, std::size_t thread) {
    const auto head = static_cast<std::uint32_t>(piece % task.kv_heads);
    const std::size_t begin = piece / task.kv_heads * kPanelColumns;
    const std::size_t end = std::min(begin + kPanelColumns, blocks);
    BoundOfHead of_head(machine, task, frequencies, head, machine.scratch[thread].data());
    for (std::size_t first = begin; first < end;) {
      std::size_t last = first + 1;
      while (last < end && task.distances[last] == task.distances[first]) ++last;
      of_head.bound(first, last - first);
      first = last;
    }
  });
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
