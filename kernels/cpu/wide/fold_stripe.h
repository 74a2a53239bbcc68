// One stripe folded into running softmaxes, common to all rows with vectors.
//
// For many row heads the stored keys and values become float32 in scratch once, for few they are read as they are
// stored. Conversion is exact and the chains of FMAs are the same, so both give the same bits. Where 32 channels of a
// token share a scale, a score is sum_g scale_g * <q_g, codes_g>, and a value is multiplied by weight * scale_g: codes
// themselves are never scaled.
//
// The reference that a row's scores are reduced by is its largest score rounded up to an integer: rescaling by a power
// of two is exact, and most stripes need none.
#pragma once

#include "kernels/cpu/wide/all_lanes.h"
#include "kernels/cpu/wide/product.h"

namespace rotulus::kernels::cpu {
namespace {

constexpr std::size_t kStreamRowHeads = 12;  // up to here converting in registers is cheaper than through memory
constexpr std::size_t kMaxBlocks = kStripeTokens / kBlockTokens;
constexpr std::size_t kMaxPanels = kStripeTokens / kPanelTokens;
constexpr std::size_t kPanelVectors = kPanelTokens / 16;
constexpr float kNothing = -__builtin_inff();

constexpr std::size_t smaller(std::size_t a, std::size_t b) {
  return a < b ? a : b;
}
constexpr std::size_t larger(std::size_t a, std::size_t b) {
  return a > b ? a : b;
}

// Where the stripe's codes lie: as they are stored, or widened.
struct Codes {
  const std::byte* keys[kMaxBlocks];
  const std::byte* values[kMaxBlocks];
  std::size_t panel_bytes;
  std::size_t key_row_bytes;
  std::size_t value_row_bytes;
};

// Slots [begin, end) that are attended, their values one after the other in memory. begin is a multiple of 16.
struct Run {
  std::size_t begin;
  std::size_t end;
  const std::byte* values;
};

// 64 slots from `begin` on, some of which are attended.
struct Panel {
  std::size_t begin;
  const std::byte* keys;  // [head_dim] rows
};

// The parts of the scratch memory.
struct Scratchpad {
  float* keys;          // [512 slots / 64][head_dim][64]
  float* values;        // [512 slots][head_dim]
  float* key_scales;    // [groups][512 slots]
  float* value_scales;  // [groups][512 slots]
  float* scores;        // [kFoldRowHeads][kScoreStride], by slot
  float* weights;       // [groups][kFoldRowHeads][kScoreStride]: times the scales
};

// Memory that will be wanted in L2 soon, asked for a few lines at a time.
template <typename Simd>
class Ahead {
 public:
  void add(const std::byte* from, std::size_t bytes) {
    ranges_[count_++] = {from, bytes};
    lines_ += bytes / 64;
  }
  // In how many steps all of it is to be asked for.
  void set_steps(std::size_t steps) { lines_per_step_ = (lines_ + steps - 1) / steps; }
  void step() {
    for (std::size_t i = 0; i < lines_per_step_ && next_ < count_; ++i) {
      Simd::prefetch_far(reinterpret_cast<const char*>(ranges_[next_].from) + offset_);
      offset_ += 64;
      if (offset_ < ranges_[next_].bytes) continue;
      offset_ = 0;
      ++next_;
    }
  }

 private:
  struct Range {
    const std::byte* from;
    std::size_t bytes;
  };
  Range ranges_[2 * kMaxBlocks];
  std::size_t count_ = 0;
  std::size_t lines_ = 0;
  std::size_t lines_per_step_ = 0;
  std::size_t next_ = 0;
  std::size_t offset_ = 0;
};

// The stripe as the loops below see it.
template <typename Simd>
struct View {
  const FoldStripe* fold;
  std::size_t groups;
  std::size_t key_row_bytes;
  std::size_t value_row_bytes;
  Panel panels[kMaxPanels];
  std::size_t panel_count;
  Run runs[kStripeTokens / kPageTokens];
  std::size_t run_count;
  Scratchpad scratch;
  Ahead<Simd> ahead;
};

// Runs of pages are joined, also over the border of two blocks if their values lie one after the other.
template <typename Simd>
void look_at(const Codes& codes, View<Simd>& view) {
  const FoldStripe& fold = *view.fold;
  view.key_row_bytes = codes.key_row_bytes;
  view.value_row_bytes = codes.value_row_bytes;
  view.panel_count = view.run_count = 0;
  for (std::uint32_t b = 0; b < fold.block_count; ++b) {
    const FoldBlock& block = fold.blocks[b];
    for (std::uint32_t t = 0; t < block.token_count; t += kPageTokens) {
      if ((block.page_mask >> (t / kPageTokens) & 1u) == 0) continue;
      const std::size_t begin = b * kBlockTokens + t;
      const std::size_t end = begin + smaller(kPageTokens, block.token_count - t);
      const std::size_t panel = t / kPanelTokens;
      const std::size_t panel_begin = b * kBlockTokens + panel * kPanelTokens;
      if (view.panel_count == 0 || view.panels[view.panel_count - 1].begin != panel_begin) {
        view.panels[view.panel_count++] = {panel_begin, codes.keys[b] + panel * codes.panel_bytes};
      }
      const std::byte* from = codes.values[b] + t * codes.value_row_bytes;
      Run* last = view.run_count == 0 ? nullptr : &view.runs[view.run_count - 1];
      if (last != nullptr && last->end == begin &&
          last->values + (begin - last->begin) * codes.value_row_bytes == from) {
        last->end = end;
      } else {
        view.runs[view.run_count++] = {begin, end, from};
      }
    }
  }
}

// The slots that some of `count` row heads see lie in [begin, end), and those that all of them see are [shared_begin,
// shared_end), where that is not empty.
struct SeenBy {
  std::size_t begin = kStripeTokens;
  std::size_t end = 0;
  std::size_t shared_begin = 0;
  std::size_t shared_end = kStripeTokens;
};
[[maybe_unused]] SeenBy seen_by(const FoldStripe& fold, std::size_t first, std::size_t count) {
  SeenBy seen;
  for (std::size_t i = first; i < first + count; ++i) {
    seen.begin = smaller(seen.begin, fold.starts[i]);
    seen.end = larger(seen.end, fold.limits[i]);
    seen.shared_begin = larger(seen.shared_begin, fold.starts[i]);
    seen.shared_end = smaller(seen.shared_end, fold.limits[i]);
  }
  return seen;
}

// Scores of `rows` row heads from `first` on, for whole panels; what a row does not see is garbage.
template <typename Simd, KvType kType, bool kIsStream>
void score_rows(View<Simd>& view, std::size_t first, std::size_t rows) {
  const FoldStripe& fold = *view.fold;
  const std::size_t dim = fold.head_dim;
  const SeenBy seen = seen_by(fold, first, rows);
  for (std::size_t i = 0; i < view.panel_count; ++i) {
    const Panel& panel = view.panels[i];
    if (seen.begin >= panel.begin + kPanelTokens || panel.begin >= seen.end) continue;
    if constexpr (!kIsStream) view.ahead.step();
    const float* queries = fold.blocks[panel.begin / kBlockTokens].queries + first * kQueryStride;
    const float* scales = view.scratch.key_scales + panel.begin;
    const std::byte* next = i + 1 < view.panel_count ? view.panels[i + 1].keys : view.runs[0].values;
    Operands operands{.a = queries,
                      .a_stride = kQueryStride,
                      .b = panel.keys,
                      .b_stride = view.key_row_bytes,
                      .depth = dim,
                      .c = view.scratch.scores + panel.begin,
                      .c_stride = kScoreStride,
                      .scales = scales,
                      .next = reinterpret_cast<const char*>(next)};
    if (view.groups == 0) {
      product<Kernel<Simd, kType, kIsStream, kQueryStride, Into::store>>(rows, kPanelVectors, operands);
      continue;
    }
    for (std::size_t d = 0; d < dim; d += kScaleChannels) {
      operands.depth = smaller(kScaleChannels, dim - d);
      if (d == 0) {
        product<Kernel<Simd, kType, kIsStream, kQueryStride, Into::scale>>(rows, kPanelVectors, operands);
      } else {
        product<Kernel<Simd, kType, kIsStream, kQueryStride, Into::add_scaled>>(rows, kPanelVectors, operands);
      }
      operands.a += kScaleChannels;
      operands.b += kScaleChannels * view.key_row_bytes;
      operands.next += kScaleChannels * view.key_row_bytes;
      operands.scales += kStripeTokens;
    }
  }
}

// Calls one(slot, lanes) for each vector of slots of which the row head sees some, ascending, but many(slot) for
// kAtOnce whole vectors: independent chains hide their latency.
constexpr std::size_t kAtOnce = 4;
template <typename Simd, typename Many, typename One>
[[gnu::always_inline]] inline void for_seen(const View<Simd>& view, std::size_t row_head, const Many& many,
                                            const One& one) {
  const std::size_t start = view.fold->starts[row_head];
  const std::size_t limit = view.fold->limits[row_head];
  for (std::size_t i = 0; i < view.run_count; ++i) {
    const std::size_t end = smaller(view.runs[i].end, limit);
    std::size_t slot = larger(view.runs[i].begin, start);
    if (slot >= end) continue;
    if (slot % 16 != 0) {
      const std::size_t vector = slot / 16 * 16;
      one(vector, Simd::lanes(slot - vector, smaller(16, end - vector)));
      slot = vector + 16;
    }
    for (; slot + 16 * kAtOnce <= end; slot += 16 * kAtOnce) many(slot);
    for (; slot + 16 <= end; slot += 16) one(slot, AllLanes{});
    if (slot < end) one(slot, Simd::lanes(0, end - slot));
  }
}

template <typename Simd, typename One>
[[gnu::always_inline]] inline void for_seen(const View<Simd>& view, std::size_t row_head, const One& one) {
  const auto many = [&](std::size_t slot) __attribute__((always_inline)) {
    for (std::size_t v = 0; v < kAtOnce; ++v) one(slot + 16 * v, AllLanes{});
  };
  for_seen<Simd>(view, row_head, many, one);
}

// score = cap tanh(score / cap), in base 2 as the scores are: the factors cancel.
template <typename Simd>
void cap_scores(const View<Simd>& view, std::size_t row_head, float* scores) {
  const auto cap = Simd::all(view.fold->soft_cap);
  const auto inverse = Simd::all(1.0f / view.fold->soft_cap);
  for_seen<Simd>(
      view, row_head, [&](std::size_t slot, auto) __attribute__((always_inline)) {
        Simd::store(scores + slot, Simd::mul(cap, Simd::tanh(Simd::mul(Simd::load(scores + slot), inverse))));
      });
}

// Where scores are reduced by: an integer, at least the largest.
[[gnu::always_inline]] inline float reference_of(float largest) {
  return __builtin_ceilf(largest);
}

// Each page's own softmax: a page is one vector of slots.
template <typename Simd>
void sum_pages(const View<Simd>& view, std::size_t row_head, const float* scores) {
  float* const max = view.fold->page_max + row_head * kStripePages;
  float* const sum = view.fold->page_sum + row_head * kStripePages;
  for (std::size_t page = 0; page < kStripePages; ++page) max[page] = kNothing;
  for_seen<Simd>(
      view, row_head, [&](std::size_t slot, auto lanes) __attribute__((always_inline)) {
        const auto seen = Simd::select(lanes, Simd::load(scores + slot), Simd::all(kNothing));
        const float largest = Simd::largest(seen);
        const float reference = reference_of(largest);
        max[slot / kPageTokens] = reference;
        const auto offsets = Simd::sub(seen, Simd::all(reference));
        sum[slot / kPageTokens] = Simd::sum(Simd::select(lanes, typename Simd::Powers(0)(offsets), Simd::zero()));
      });
}

template <typename Simd>
float max_score(const View<Simd>& view, std::size_t row_head, const float* scores) {
  typename Simd::Floats most[kAtOnce];
  for (auto& of_vector : most) of_vector = Simd::all(kNothing);
  for_seen<Simd>(
      view, row_head,
      [&](std::size_t slot) __attribute__((always_inline)) {
#pragma GCC unroll 4
        for (std::size_t v = 0; v < kAtOnce; ++v) most[v] = Simd::max(most[v], Simd::load(scores + slot + 16 * v));
      },
      [&](std::size_t slot, auto lanes) __attribute__((always_inline)) {
        most[0] = Simd::select(lanes, Simd::max(most[0], Simd::load(scores + slot)), most[0]);
      });
  return Simd::largest(Simd::max(Simd::max(most[0], most[1]), Simd::max(most[2], most[3])));
}

// Brings what a row head has summed so far to a new reference.
template <typename Simd>
void rescale_row(const FoldStripe& fold, std::size_t row_head, float reference) {
  const float change = fold.max[row_head] - reference;
  if (change == 0 || change == kNothing) return;  // nothing summed yet: zeros
  const float factor = change < -126 ? 0.0f : Simd::power_of_two(change);
  fold.sum[row_head] *= factor;
  float* out = fold.out + row_head * fold.head_dim;
  for (std::size_t d = 0; d < fold.head_dim; d += 16) {
    Simd::store(out + d, Simd::mul(Simd::load(out + d), Simd::all(factor)));
  }
}

// Scores so large that the integer arithmetic of Powers does not hold them.
constexpr float kLargeReference = 0x1p17f;

// Turns the scores of one row head into weights 2^(score - reference), and rescales what it has summed so far. The sum
// has one shape: lane l of a vector adds slots l, l + 16, ... ascending, then the lanes are added. Slots not seen would
// add exact zeros, so it does not matter which of them are left out.
template <typename Simd>
void weigh_row(const View<Simd>& view, std::size_t row_head, float* scores) {
  const FoldStripe& fold = *view.fold;
  const float stripe_max = max_score(view, row_head, scores);
  if (stripe_max == kNothing) {
    for_seen<Simd>(
        view, row_head, [&](std::size_t slot, auto) __attribute__((always_inline)) {
          Simd::store(scores + slot, Simd::zero());
        });
    return;
  }
  float reference = reference_of(stripe_max);
  if (reference <= fold.max[row_head]) reference = fold.max[row_head];
  rescale_row<Simd>(fold, row_head, reference);
  fold.max[row_head] = reference;
  if (!(reference > -kLargeReference && reference < kLargeReference)) {
    for_seen<Simd>(
        view, row_head, [&](std::size_t slot, auto) __attribute__((always_inline)) {
          Simd::store(scores + slot, Simd::sub(Simd::load(scores + slot), Simd::all(reference)));
        });
    reference = 0;
  }
  const typename Simd::Powers powers(reference);
  auto sums = Simd::zero();
  for_seen<Simd>(
      view, row_head,
      [&](std::size_t slot) __attribute__((always_inline)) {
        typename Simd::Floats weights[kAtOnce];
#pragma GCC unroll 4
        for (std::size_t v = 0; v < kAtOnce; ++v) weights[v] = Simd::load(scores + slot + 16 * v);
        powers(weights);
#pragma GCC unroll 4
        for (std::size_t v = 0; v < kAtOnce; ++v) {
          sums = Simd::add(sums, weights[v]);
          Simd::store(scores + slot + 16 * v, weights[v]);
        }
      },
      [&](std::size_t slot, auto lanes) __attribute__((always_inline)) {
        const auto weights = Simd::select(lanes, powers(Simd::load(scores + slot)), Simd::zero());
        sums = Simd::add(sums, weights);
        Simd::store(scores + slot, weights);
      });
  fold.sum[row_head] += Simd::sum(sums);
}

// Weights of `rows` row heads from `first` on, times the scales of the values.
template <typename Simd>
void scale_weights(const View<Simd>& view, std::size_t first, std::size_t rows) {
  for (std::size_t g = 0; g < view.groups; ++g) {
    const float* const scales = view.scratch.value_scales + g * kStripeTokens;
    for (std::size_t r = 0; r < rows; ++r) {
      const float* const from = view.scratch.scores + r * kScoreStride;
      float* const to = view.scratch.weights + (g * kFoldRowHeads + r) * kScoreStride;
      for_seen<Simd>(
          view, first + r, [&](std::size_t slot, auto) __attribute__((always_inline)) {
            Simd::store(to + slot, Simd::mul(Simd::load(from + slot), Simd::load(scales + slot)));
          });
    }
  }
}

// Row heads whose scores are in scratch, and some of them.
struct RowRange {
  std::size_t first;  // row head of the first in scratch
  std::size_t row;    // counted from there
  std::size_t count;
};

// out += weights * values over slots [begin, end) of a run, for rows that all see them.
template <typename Simd, KvType kType, bool kIsStream>
void add_values(const View<Simd>& view, const Run& run, std::size_t begin, std::size_t end, const RowRange& rows,
                const std::byte* next) {
  if (begin >= end) return;
  const std::size_t dim = view.fold->head_dim;
  const std::size_t width = view.groups == 0 ? dim : kScaleChannels;
  for (std::size_t d = 0; d < dim; d += width) {
    const std::size_t group_rows = d / kScaleChannels * kFoldRowHeads;
    const float* const weights = view.groups == 0 ? view.scratch.scores + rows.row * kScoreStride
                                                  : view.scratch.weights + (group_rows + rows.row) * kScoreStride;
    const std::size_t offset = (begin - run.begin) * view.value_row_bytes + d / 16 * vector_bytes<kType>();
    product<Kernel<Simd, kType, kIsStream, kScoreStride, Into::extend>>(
        rows.count, smaller(width, dim - d) / 16,
        {.a = weights + begin,
         .a_stride = kScoreStride,
         .b = run.values + offset,
         .b_stride = view.value_row_bytes,
         .depth = end - begin,
         .c = view.fold->out + (rows.first + rows.row) * dim + d,
         .c_stride = dim,
         .scales = nullptr,
         .next = reinterpret_cast<const char*>(next + offset)});
  }
}

// Rows share the slots that all of them see; before and behind those, each goes alone. A value that a row does not see
// is never multiplied, not even by zero: it might be infinite.
template <typename Simd, KvType kType, bool kIsStream>
void value_rows(const View<Simd>& view, std::size_t first, std::size_t rows) {
  const FoldStripe& fold = *view.fold;
  const std::byte* const after = fold.next_block_count > 0 ? fold.next_blocks[0].keys : fold.blocks[0].keys;
  if (view.groups > 0) scale_weights(view, first, rows);
  // Rows of one tile, or more where they all see the same.
  const SeenBy all = seen_by(fold, first, rows);
  const bool is_same = all.begin == all.shared_begin && all.end == all.shared_end;
  const std::size_t step = is_same ? rows : kFoldTileRows;
  for (std::size_t row = 0; row < rows; row += step) {
    const std::size_t count = smaller(step, rows - row);
    const SeenBy seen = seen_by(fold, first + row, count);
    for (std::size_t i = 0; i < view.run_count; ++i) {
      const Run& run = view.runs[i];
      const std::byte* next = i + 1 < view.run_count ? view.runs[i + 1].values : after;
      const auto add = [&](std::size_t begin, std::size_t end, std::size_t of_row, std::size_t of_rows) {
        add_values<Simd, kType, kIsStream>(view, run, begin, end, {first, of_row, of_rows}, next);
      };
      const std::size_t begin = larger(run.begin, smaller(run.end, seen.shared_begin));
      const std::size_t end = larger(begin, smaller(run.end, seen.shared_end));
      for (std::size_t r = row; r < row + count; ++r) {
        add(larger(run.begin, fold.starts[first + r]), smaller(begin, fold.limits[first + r]), r, 1);
      }
      add(begin, end, row, count);
      for (std::size_t r = row; r < row + count; ++r) {
        add(larger(end, fold.starts[first + r]), smaller(run.end, fold.limits[first + r]), r, 1);
      }
    }
  }
}

template <typename Simd, KvType kType, bool kIsStream>
void fold_view(View<Simd>& view) {
  const std::size_t row_heads = view.fold->row_heads;
  for (std::size_t first = 0; first < row_heads; first += kFoldRowHeads) {
    const std::size_t rows = smaller(kFoldRowHeads, row_heads - first);
    score_rows<Simd, kType, kIsStream>(view, first, rows);
    for (std::size_t r = 0; r < rows; ++r) {
      float* const scores = view.scratch.scores + r * kScoreStride;
      if (view.fold->soft_cap > 0) cap_scores(view, first + r, scores);
      if (view.fold->page_max != nullptr) sum_pages(view, first + r, scores);
      weigh_row(view, first + r, scores);
    }
    value_rows<Simd, kType, kIsStream>(view, first, rows);
  }
}

template <typename Simd, KvType kType>
void widen(const std::byte* from, std::size_t count, float* to) {
  for (std::size_t i = 0; i < count; i += 16, from += vector_bytes<kType>()) {
    Simd::store(to + i, Simd::template load_codes<kType>(from));
  }
}

// The panels and runs of the stripe as float32 in scratch; values that no row sees are not read.
template <typename Simd, KvType kType>
void widen_view(View<Simd>& view) {
  const FoldStripe& fold = *view.fold;
  const std::size_t dim = fold.head_dim;
  for (std::size_t i = 0; i < view.panel_count; ++i) {
    widen<Simd, kType>(view.panels[i].keys, kPanelTokens * dim, view.scratch.keys + view.panels[i].begin * dim);
  }
  for (std::size_t i = 0; i < view.run_count; ++i) {
    const Run& run = view.runs[i];
    widen<Simd, kType>(run.values, (run.end - run.begin) * dim, view.scratch.values + run.begin * dim);
  }
  Codes codes{.keys = {},
              .values = {},
              .panel_bytes = kPanelTokens * dim * sizeof(float),
              .key_row_bytes = kPanelTokens * sizeof(float),
              .value_row_bytes = dim * sizeof(float)};
  for (std::size_t b = 0; b < kMaxBlocks; ++b) {
    codes.keys[b] = reinterpret_cast<const std::byte*>(view.scratch.keys + b * kBlockTokens * dim);
    codes.values[b] = reinterpret_cast<const std::byte*>(view.scratch.values + b * kBlockTokens * dim);
  }
  look_at(codes, view);
}

// The scales of the stripe as float32, by slot.
template <typename Simd>
void widen_scales(const FoldStripe& fold, const Scratchpad& scratch) {
  const KvLayout& layout = fold.layout;
  for (std::uint32_t b = 0; b < fold.block_count; ++b) {
    const std::byte* const of_values = fold.blocks[b].values + layout.value_scales;
    for (std::size_t g = 0; g < layout.groups; ++g) {
      const std::size_t slot = g * kStripeTokens + b * kBlockTokens;
      widen<Simd, KvType::f16>(of_values + 2 * g * kBlockTokens, kBlockTokens, scratch.value_scales + slot);
      for (std::size_t p = 0; p < kBlockPanels; ++p) {
        const std::byte* const of_keys = fold.blocks[b].keys + p * layout.panel_bytes + layout.key_scales;
        widen<Simd, KvType::f16>(of_keys + 2 * g * kPanelTokens, kPanelTokens,
                                 scratch.key_scales + slot + p * kPanelTokens);
      }
    }
  }
}

template <typename Simd, KvType kType>
void fold_type(View<Simd>& view) {
  const FoldStripe& fold = *view.fold;
  if (fold.row_heads <= kStreamRowHeads) return fold_view<Simd, kType, true>(view);
  for (std::uint32_t b = 0; b < fold.next_block_count; ++b) {
    view.ahead.add(fold.next_blocks[b].keys, kBlockPanels * fold.layout.panel_bytes);
    view.ahead.add(fold.next_blocks[b].values, kBlockTokens * fold.layout.value_row_bytes);
  }
  const std::size_t passes = (fold.row_heads + kFoldRowHeads - 1) / kFoldRowHeads;
  view.ahead.set_steps(larger(1, passes * view.panel_count));
  if constexpr (kType != KvType::f32) widen_view<Simd, kType>(view);
  fold_view<Simd, KvType::f32, false>(view);
}

template <typename Simd>
void fold_stripe_with(const FoldStripe& fold) {
  const std::size_t dim = fold.head_dim;
  const KvLayout& layout = fold.layout;
  View<Simd> view;
  view.fold = &fold;
  view.groups = layout.groups;
  view.scratch.keys = fold.scratch;
  view.scratch.values = view.scratch.keys + kStripeTokens * dim;
  view.scratch.key_scales = view.scratch.values + kStripeTokens * dim;
  view.scratch.value_scales = view.scratch.key_scales + kStripeTokens * layout.groups;
  view.scratch.scores = view.scratch.value_scales + kStripeTokens * layout.groups;
  view.scratch.weights = view.scratch.scores + kFoldRowHeads * kScoreStride;
  Codes codes{.keys = {},
              .values = {},
              .panel_bytes = layout.panel_bytes,
              .key_row_bytes = layout.key_row_bytes,
              .value_row_bytes = layout.value_row_bytes};
  for (std::uint32_t b = 0; b < fold.block_count; ++b) {
    codes.keys[b] = fold.blocks[b].keys;
    codes.values[b] = fold.blocks[b].values;
  }
  look_at(codes, view);
  widen_scales<Simd>(fold, view.scratch);
  switch (layout.type) {
    case KvType::f32:
      return fold_type<Simd, KvType::f32>(view);
    case KvType::f16:
      return fold_type<Simd, KvType::f16>(view);
    case KvType::bf16:
      return fold_type<Simd, KvType::bf16>(view);
    case KvType::int8:
      return fold_type<Simd, KvType::int8>(view);
    case KvType::int4:
      return fold_type<Simd, KvType::int4>(view);
  }
}

}  // namespace
}  // namespace rotulus::kernels::cpu
