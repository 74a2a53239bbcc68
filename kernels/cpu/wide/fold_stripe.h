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
constexpr std::size_t kAheadLines = 256;  // of a stream: 16 KiB are some 600 ns of reading
constexpr std::size_t kPanelPages = kPanelTokens / kPageTokens;
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

// Neighbouring pages of one panel: 16 * vectors slots from `begin` on.
struct Span {
  std::size_t begin;
  std::size_t vectors;
  const std::byte* keys;  // [head_dim] rows of the panel
};

// The parts of the scratch memory.
struct Scratchpad {
  float* keys;     // [512 slots / 64][head_dim][64]
  float* values;   // [512 slots][head_dim]
  float* scores;   // [kFoldRowHeads][kScoreStride], by slot
  float* weights;  // [groups][kFoldRowHeads][kScoreStride]: times the scales
};

// What of a stripe is attended, ascending.
struct Pages {
  std::size_t key_row_bytes;
  std::size_t value_row_bytes;
  Span spans[kStripePages];
  std::size_t span_count = 0;
  Run runs[kStripePages];
  std::size_t run_count = 0;
};

// The stripe as the loops below see it.
struct View {
  const FoldStripe* fold;
  std::size_t groups;
  Pages pages;
  Scratchpad scratch;
  Ahead ahead;
};

// Pages that are neighbours are joined; runs also over the border of two blocks if their values lie one after the
// other.
[[maybe_unused]] Pages find_pages(const Codes& codes, const FoldBlock* blocks, std::uint32_t count) {
  Pages pages;
  pages.key_row_bytes = codes.key_row_bytes;
  pages.value_row_bytes = codes.value_row_bytes;
  for (std::uint32_t b = 0; b < count; ++b) {
    const std::size_t tokens = blocks[b].token_count;
    unsigned left = blocks[b].page_mask & ((1u << (tokens + kPageTokens - 1) / kPageTokens) - 1);
    while (left != 0) {
      const auto page = static_cast<unsigned>(__builtin_ctz(left));
      const unsigned behind = page + static_cast<unsigned>(__builtin_ctz(~(left >> page)));
      left &= ~0u << behind;
      for (std::size_t first = page, next = 0; first < behind; first = next) {
        next = smaller(behind, first / kPanelPages * kPanelPages + kPanelPages);
        const std::byte* const panel = codes.keys[b] + first / kPanelPages * codes.panel_bytes;
        pages.spans[pages.span_count++] = {b * kBlockTokens + first * kPageTokens, next - first,
                                           panel + first % kPanelPages * codes.key_row_bytes / kPanelPages};
      }
      const std::size_t begin = b * kBlockTokens + page * kPageTokens;
      const std::size_t end = b * kBlockTokens + smaller(behind * kPageTokens, tokens);
      const std::byte* const values = codes.values[b] + page * kPageTokens * codes.value_row_bytes;
      Run* const run = pages.run_count == 0 ? nullptr : &pages.runs[pages.run_count - 1];
      if (run != nullptr && run->end == begin && run->values + (begin - run->begin) * codes.value_row_bytes == values) {
        run->end = end;
      } else {
        pages.runs[pages.run_count++] = {begin, end, values};
      }
    }
  }
  return pages;
}

// The same, in the stored form.
[[maybe_unused]] Pages find_stored_pages(const KvLayout& layout, const FoldBlock* blocks, std::uint32_t count) {
  Codes codes{.keys = {},
              .values = {},
              .panel_bytes = layout.panel_bytes,
              .key_row_bytes = layout.key_row_bytes,
              .value_row_bytes = layout.value_row_bytes};
  for (std::uint32_t b = 0; b < count; ++b) {
    codes.keys[b] = blocks[b].keys;
    codes.values[b] = blocks[b].values;
  }
  return find_pages(codes, blocks, count);
}

// Scales of the slots from `slot` on, of keys in one panel, or of values in one block: [groups] rows.
const std::byte* key_scales(const KvLayout& layout, const FoldBlock* blocks, std::size_t slot) {
  const std::size_t token = slot % kBlockTokens;
  return blocks[slot / kBlockTokens].keys + token / kPanelTokens * layout.panel_bytes + layout.key_scales +
         token % kPanelTokens * sizeof(std::uint16_t);
}
const std::byte* value_scales(const KvLayout& layout, const FoldBlock* blocks, std::size_t slot) {
  return blocks[slot / kBlockTokens].values + layout.value_scales + slot % kBlockTokens * sizeof(std::uint16_t);
}
constexpr std::size_t kKeyScaleRowBytes = kPanelTokens * sizeof(std::uint16_t);
constexpr std::size_t kValueScaleRowBytes = kBlockTokens * sizeof(std::uint16_t);

// Stored pages, in the order in which they are read.
[[maybe_unused]] void look_ahead(const FoldStripe& fold, const FoldBlock* blocks, const Pages& pages, Ahead& ahead) {
  const KvLayout& layout = fold.layout;
  for (std::size_t i = 0; i < pages.span_count; ++i) {
    const Span& span = pages.spans[i];
    ahead.add(span.keys, span.vectors * layout.key_row_bytes / kPanelPages, layout.key_row_bytes, fold.head_dim);
    ahead.add(key_scales(layout, blocks, span.begin), span.vectors * vector_bytes<KvType::f16>(), kKeyScaleRowBytes,
              layout.groups);
  }
  for (std::size_t i = 0; layout.groups > 0 && i < pages.run_count; ++i) {
    const Run& run = pages.runs[i];
    ahead.add(value_scales(layout, blocks, run.begin), (run.end - run.begin) * sizeof(std::uint16_t),
              kValueScaleRowBytes, layout.groups);
  }
  for (std::size_t i = 0; i < pages.run_count; ++i) {
    const Run& run = pages.runs[i];
    ahead.add(run.values, layout.value_row_bytes, layout.value_row_bytes, run.end - run.begin);
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

// Lines that are asked for with each row of codes: as many as it takes of a stream, one of what has been widened
// before.
template <KvType kType, bool kIsStream>
constexpr std::size_t lines_ahead() {
  return kIsStream ? larger(1, kPanelTokens * element_bits(kType) / 8 / kLineBytes) : 1;
}

// Scores of `rows` row heads from `first` on, for whole pages; what a row does not see is garbage.
template <typename Simd, KvType kType, bool kIsStream>
void score_rows(View& view, std::size_t first, std::size_t rows) {
  const FoldStripe& fold = *view.fold;
  const Pages& pages = view.pages;
  const std::size_t dim = fold.head_dim;
  const SeenBy seen = seen_by(fold, first, rows);
  for (std::size_t i = 0; i < pages.span_count; ++i) {
    const Span& span = pages.spans[i];
    if (seen.begin >= span.begin + 16 * span.vectors || span.begin >= seen.end) continue;
    Operands operands{.a = fold.blocks[span.begin / kBlockTokens].queries + first * kQueryStride,
                      .a_stride = kQueryStride,
                      .b = span.keys,
                      .b_stride = pages.key_row_bytes,
                      .depth = dim,
                      .c = view.scratch.scores + span.begin,
                      .c_stride = kScoreStride,
                      .scales = key_scales(fold.layout, fold.blocks, span.begin),
                      .next = &view.ahead};
    if (view.groups == 0) {
      product<Kernel<Simd, kType, lines_ahead<kType, kIsStream>(), kQueryStride, Into::store>>(rows, span.vectors,
                                                                                               operands);
      continue;
    }
    for (std::size_t d = 0; d < dim; d += kScaleChannels) {
      operands.depth = smaller(kScaleChannels, dim - d);
      if (d == 0) {
        product<Kernel<Simd, kType, lines_ahead<kType, kIsStream>(), kQueryStride, Into::scale>>(rows, span.vectors,
                                                                                                 operands);
      } else {
        product<Kernel<Simd, kType, lines_ahead<kType, kIsStream>(), kQueryStride, Into::add_scaled>>(
            rows, span.vectors, operands);
      }
      operands.a += kScaleChannels;
      operands.b += kScaleChannels * pages.key_row_bytes;
      operands.scales += kKeyScaleRowBytes;
    }
  }
}

// Calls one(slot, lanes) for each vector of slots of which the row head sees some, ascending, but many(slot) for
// kAtOnce whole vectors: independent chains hide their latency.
constexpr std::size_t kAtOnce = 4;
template <typename Simd, typename Many, typename One>
[[gnu::always_inline]] inline void for_seen(const View& view, std::size_t row_head, const Many& many, const One& one) {
  const std::size_t start = view.fold->starts[row_head];
  const std::size_t limit = view.fold->limits[row_head];
  for (std::size_t i = 0; i < view.pages.run_count; ++i) {
    const std::size_t end = smaller(view.pages.runs[i].end, limit);
    std::size_t slot = larger(view.pages.runs[i].begin, start);
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
[[gnu::always_inline]] inline void for_seen(const View& view, std::size_t row_head, const One& one) {
  const auto many = [&](std::size_t slot) __attribute__((always_inline)) {
    for (std::size_t v = 0; v < kAtOnce; ++v) one(slot + 16 * v, AllLanes{});
  };
  for_seen<Simd>(view, row_head, many, one);
}

// score = cap tanh(score / cap), in base 2 as the scores are: the factors cancel.
template <typename Simd>
void cap_scores(const View& view, std::size_t row_head, float* scores) {
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
void sum_pages(const View& view, std::size_t row_head, const float* scores) {
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
float max_score(const View& view, std::size_t row_head, const float* scores) {
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

// Turns the scores of one row head, `stripe_max` the largest, into weights 2^(score - reference), and rescales what it
// has summed so far. The sum has one shape: lane l of a vector adds slots l, l + 16, ... ascending, then the lanes are
// added. Slots not seen would add exact zeros, so it does not matter which of them are left out.
template <typename Simd>
void weigh_row(const View& view, std::size_t row_head, float stripe_max, float* scores) {
  const FoldStripe& fold = *view.fold;
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
void scale_weights(const View& view, std::size_t first, std::size_t rows) {
  const FoldStripe& fold = *view.fold;
  for (std::size_t r = 0; r < rows; ++r) {
    const float* const from = view.scratch.scores + r * kScoreStride;
    for_seen<Simd>(
        view, first + r, [&](std::size_t slot, auto) __attribute__((always_inline)) {
          const auto weights = Simd::load(from + slot);
          const std::byte* scales = value_scales(fold.layout, fold.blocks, slot);
          float* to = view.scratch.weights + r * kScoreStride + slot;
          for (std::size_t g = 0; g < view.groups; ++g) {
            Simd::store(to, Simd::mul(weights, load_scales<Simd>(scales)));
            scales += kValueScaleRowBytes;
            to += kFoldRowHeads * kScoreStride;
          }
        });
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
void add_values(View& view, const Run& run, std::size_t begin, std::size_t end, const RowRange& rows) {
  if (begin >= end) return;
  const std::size_t dim = view.fold->head_dim;
  Operands operands{.a = view.scratch.scores + rows.row * kScoreStride + begin,
                    .a_stride = kScoreStride,
                    .b = run.values + (begin - run.begin) * view.pages.value_row_bytes,
                    .b_stride = view.pages.value_row_bytes,
                    .depth = end - begin,
                    .c = view.fold->out + (rows.first + rows.row) * dim,
                    .c_stride = dim,
                    .scales = nullptr,
                    .next = &view.ahead};
  if (view.groups == 0) {
    product<Kernel<Simd, kType, lines_ahead<kType, kIsStream>(), kScoreStride, Into::extend>>(rows.count, dim / 16,
                                                                                              operands);
    return;
  }
  operands.a = view.scratch.weights + rows.row * kScoreStride + begin;
  product<
      Kernel<Simd, kType, lines_ahead<kType, kIsStream>(), kScoreStride, Into::extend, kFoldRowHeads * kScoreStride>>(
      rows.count, dim / 16, operands);
}

// Rows share the slots that all of them see; before and behind those, each goes alone. A value that a row does not see
// is never multiplied, not even by zero: it might be infinite.
template <typename Simd, KvType kType, bool kIsStream>
void value_rows(View& view, std::size_t first, std::size_t rows) {
  const FoldStripe& fold = *view.fold;
  if (view.groups > 0) scale_weights<Simd>(view, first, rows);
  // Rows of one tile, or more where they all see the same.
  const SeenBy all = seen_by(fold, first, rows);
  const bool is_same = all.begin == all.shared_begin && all.end == all.shared_end;
  const std::size_t step = is_same ? rows : kFoldTileRows;
  for (std::size_t row = 0; row < rows; row += step) {
    const std::size_t count = smaller(step, rows - row);
    const SeenBy seen = seen_by(fold, first + row, count);
    for (std::size_t i = 0; i < view.pages.run_count; ++i) {
      const Run& run = view.pages.runs[i];
      const auto add = [&](std::size_t begin, std::size_t end, std::size_t of_row, std::size_t of_rows) {
        add_values<Simd, kType, kIsStream>(view, run, begin, end, {first, of_row, of_rows});
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
void fold_view(View& view) {
  const std::size_t row_heads = view.fold->row_heads;
  for (std::size_t first = 0; first < row_heads; first += kFoldRowHeads) {
    const std::size_t rows = smaller(kFoldRowHeads, row_heads - first);
    score_rows<Simd, kType, kIsStream>(view, first, rows);
    // One loop for each step: a row's last reductions are hidden behind the next row's vectors.
    float stripe_max[kFoldRowHeads];
    for (std::size_t r = 0; r < rows; ++r) {
      float* const scores = view.scratch.scores + r * kScoreStride;
      if (view.fold->soft_cap > 0) cap_scores<Simd>(view, first + r, scores);
      if (view.fold->page_max != nullptr) sum_pages<Simd>(view, first + r, scores);
      stripe_max[r] = max_score<Simd>(view, first + r, scores);
    }
    for (std::size_t r = 0; r < rows; ++r) {
      weigh_row<Simd>(view, first + r, stripe_max[r], view.scratch.scores + r * kScoreStride);
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

// The pages of the stripe as float32 in scratch.
template <typename Simd, KvType kType>
void widen_view(View& view) {
  const FoldStripe& fold = *view.fold;
  const std::size_t dim = fold.head_dim;
  Pages& pages = view.pages;
  for (std::size_t i = 0; i < pages.span_count; ++i) {
    const Span& span = pages.spans[i];
    const std::size_t column = span.begin % kPanelTokens;
    float* const to = view.scratch.keys + (span.begin - column) * dim + column;
    for (std::size_t d = 0; d < dim; ++d) {
      widen<Simd, kType>(span.keys + d * pages.key_row_bytes, 16 * span.vectors, to + d * kPanelTokens);
    }
  }
  for (std::size_t i = 0; i < pages.run_count; ++i) {
    const Run& run = pages.runs[i];
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
  pages = find_pages(codes, fold.blocks, fold.block_count);
}

template <typename Simd, KvType kType>
void fold_type(View& view) {
  const FoldStripe& fold = *view.fold;
  const bool is_stream = fold.row_heads <= kStreamRowHeads;
  if (is_stream) {
    look_ahead(fold, fold.blocks, view.pages, view.ahead);
    view.ahead.limit(kAheadLines);
  }
  const Pages next = find_stored_pages(fold.layout, fold.next_blocks, fold.next_block_count);
  look_ahead(fold, fold.next_blocks, next, view.ahead);
  view.ahead.start(is_stream ? kAheadLines : 0, fold.blocks[0].keys);
  if (is_stream) return fold_view<Simd, kType, true>(view);
  if constexpr (kType != KvType::f32) widen_view<Simd, kType>(view);
  fold_view<Simd, KvType::f32, false>(view);
}

template <typename Simd>
void fold_stripe_with(const FoldStripe& fold) {
  const std::size_t dim = fold.head_dim;
  const KvLayout& layout = fold.layout;
  View view;
  view.fold = &fold;
  view.groups = layout.groups;
  view.pages = find_stored_pages(layout, fold.blocks, fold.block_count);
  view.scratch.keys = fold.scratch;
  view.scratch.values = view.scratch.keys + kStripeTokens * dim;
  view.scratch.scores = view.scratch.values + kStripeTokens * dim;
  view.scratch.weights = view.scratch.scores + kFoldRowHeads * kScoreStride;
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
