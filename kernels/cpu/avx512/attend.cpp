// One stripe folded into running softmaxes. Keys and values in f16 are widened to float32 once for many row heads, or
// in registers for a few: conversion is exact and the FMA chains are the same, so both give the same bits.
#include <immintrin.h>

#include "kernels/cpu/avx512/kernels.h"
#include "kernels/cpu/avx512/microkernel.h"
#include "kernels/cpu/avx512/vector_math.h"

namespace rotulus::kernels::cpu::avx512 {
namespace {

constexpr std::size_t kDirectRowHeads = 12;  // up to here widening in registers is cheaper than through memory
constexpr std::size_t kMaxBlocks = kStripeTokens / kBlockTokens;
constexpr std::size_t kMaxPanels = kStripeTokens / kPanelTokens;
constexpr float kNothing = -__builtin_inff();

std::size_t smaller(std::size_t a, std::size_t b) {
  return a < b ? a : b;
}
std::size_t larger(std::size_t a, std::size_t b) {
  return a > b ? a : b;
}

// Slots [begin, end) that are attended, their values one after the other in memory. begin is a multiple of 16.
template <typename Element>
struct Run {
  std::size_t begin;
  std::size_t end;
  const Element* values;
};

// 64 slots from `begin` on, some of which are attended.
template <typename Element>
struct Panel {
  std::size_t begin;
  const Element* keys;  // [head_dim][64]
};

// The stripe as the loops below see it.
template <typename Element>
struct View {
  const FoldStripe* fold;
  Panel<Element> panels[kMaxPanels];
  std::size_t panel_count;
  Run<Element> runs[kStripeTokens / kPageTokens];
  std::size_t run_count;
  float* scores;  // [kFoldRowHeads][kScoreStride], by slot
};

// `keys` and `values` [4] are where the blocks' panels and values lie. Runs of pages are joined, also over the border
// of two blocks if their values lie one after the other.
template <typename Element>
void look_at(const FoldStripe& fold, const Element* const* keys, const Element* const* values, View<Element>& view) {
  const std::size_t dim = fold.head_dim;
  view.fold = &fold;
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
        view.panels[view.panel_count++] = {panel_begin, keys[b] + panel * dim * kPanelTokens};
      }
      const Element* from = values[b] + t * dim;
      Run<Element>* last = view.run_count == 0 ? nullptr : &view.runs[view.run_count - 1];
      if (last != nullptr && last->end == begin && last->values + (begin - last->begin) * dim == from) {
        last->end = end;
      } else {
        view.runs[view.run_count++] = {begin, end, from};
      }
    }
  }
}

// Scores of `rows` row heads from `first` on, for whole panels; what a row does not see is garbage.
template <typename Element>
void score_rows(const View<Element>& view, std::size_t first, std::size_t rows) {
  const FoldStripe& fold = *view.fold;
  const std::size_t dim = fold.head_dim;
  for (std::size_t i = 0; i < view.panel_count; ++i) {
    const Panel<Element>& panel = view.panels[i];
    const float* queries = fold.blocks[panel.begin / kBlockTokens].queries;
    const Element* next = i + 1 < view.panel_count ? view.panels[i + 1].keys : view.runs[0].values;
    for (std::size_t r = 0; r < rows; r += kTileRows) {
      const std::size_t count = smaller(kTileRows, rows - r);
      bool is_seen = false;
      for (std::size_t j = first + r; j < first + r + count; ++j) {
        is_seen |= fold.starts[j] < panel.begin + kPanelTokens && panel.begin < fold.limits[j];
      }
      if (!is_seen) continue;
      product<Element>(count, kTileVectors,
                       {.a = queries + (first + r) * dim,
                        .a_stride = dim,
                        .b = panel.keys,
                        .b_stride = kPanelTokens,
                        .depth = dim,
                        .c = view.scores + r * kScoreStride + panel.begin,
                        .c_stride = kScoreStride,
                        .into = Into::replace,
                        .next = reinterpret_cast<const char*>(next)});
    }
  }
}

// Calls step(slot, mask) for each vector of slots of which the row head sees some, ascending.
template <typename Element, typename Step>
[[gnu::always_inline]] inline void for_seen(const View<Element>& view, std::size_t row_head, const Step& step) {
  const std::size_t start = view.fold->starts[row_head];
  const std::size_t limit = view.fold->limits[row_head];
  for (std::size_t i = 0; i < view.run_count; ++i) {
    const std::size_t end = smaller(view.runs[i].end, limit);
    std::size_t slot = larger(view.runs[i].begin, start);
    if (slot >= end) continue;
    if (slot % 16 != 0) {
      const std::size_t vector = slot / 16 * 16;
      step(vector, static_cast<__mmask16>(first_lanes(end - vector) & ~first_lanes(slot - vector)));
      slot = vector + 16;
    }
    for (; slot + 16 <= end; slot += 16) step(slot, static_cast<__mmask16>(0xffff));
    if (slot < end) step(slot, first_lanes(end - slot));
  }
}

// score = cap tanh(score / cap), in base 2 as the scores are: the factors cancel.
template <typename Element>
void cap_scores(const View<Element>& view, std::size_t row_head, float* scores) {
  const __m512 cap = _mm512_set1_ps(view.fold->soft_cap);
  const __m512 inverse = _mm512_set1_ps(1.0f / view.fold->soft_cap);
  for_seen(
      view, row_head, [&](std::size_t slot, __mmask16) __attribute__((always_inline)) {
        const __m512 score = _mm512_loadu_ps(scores + slot);
        _mm512_storeu_ps(scores + slot, _mm512_mul_ps(cap, tanh_any(_mm512_mul_ps(score, inverse))));
      });
}

// Each page's own softmax: a page is one vector of slots.
template <typename Element>
void sum_pages(const View<Element>& view, std::size_t row_head, const float* scores) {
  float* const max = view.fold->page_max + row_head * kStripePages;
  float* const sum = view.fold->page_sum + row_head * kStripePages;
  for (std::size_t page = 0; page < kStripePages; ++page) max[page] = kNothing;
  for_seen(
      view, row_head, [&](std::size_t slot, __mmask16 mask) __attribute__((always_inline)) {
        const __m512 seen = _mm512_mask_blend_ps(mask, _mm512_set1_ps(kNothing), _mm512_loadu_ps(scores + slot));
        const float largest = max_lanes(seen);
        max[slot / kPageTokens] = largest;
        sum[slot / kPageTokens] = sum_lanes(exp2_masked(mask, _mm512_sub_ps(seen, _mm512_set1_ps(largest))));
      });
}

template <typename Element>
float max_score(const View<Element>& view, std::size_t row_head, const float* scores) {
  // Two in turn: one chain would wait for itself.
  __m512 even = _mm512_set1_ps(kNothing);
  __m512 odd = even;
  for_seen(
      view, row_head, [&](std::size_t slot, __mmask16 mask) __attribute__((always_inline)) {
        const __m512 larger_of = _mm512_mask_max_ps(even, mask, even, _mm512_loadu_ps(scores + slot));
        even = odd;
        odd = larger_of;
      });
  return max_lanes(_mm512_max_ps(even, odd));
}

// Turns the scores of one row head into weights 2^(score - max), and rescales what it has summed so far. The sum has
// one shape: lane l of a vector adds slots l, l + 16, ... ascending, then the lanes are added. Slots not seen would add
// exact zeros, so it does not matter which of them are left out.
template <typename Element>
void weigh_row(const View<Element>& view, std::size_t row_head, float* scores) {
  const FoldStripe& fold = *view.fold;
  const float stripe_max = max_score(view, row_head, scores);
  if (stripe_max == kNothing) {
    for_seen(
        view, row_head, [&](std::size_t slot, __mmask16) __attribute__((always_inline)) {
          _mm512_storeu_ps(scores + slot, _mm512_setzero_ps());
        });
    return;
  }
  const float max = stripe_max <= fold.max[row_head] ? fold.max[row_head] : stripe_max;
  const __m512 all_max = _mm512_set1_ps(max);
  __m512 sums = _mm512_setzero_ps();
  for_seen(
      view, row_head, [&](std::size_t slot, __mmask16 mask) __attribute__((always_inline)) {
        const __m512 weights = exp2_masked(mask, _mm512_sub_ps(_mm512_loadu_ps(scores + slot), all_max));
        sums = _mm512_add_ps(sums, weights);
        _mm512_storeu_ps(scores + slot, weights);
      });
  const __m512 rescale = exp2_masked(0xffff, _mm512_sub_ps(_mm512_set1_ps(fold.max[row_head]), all_max));
  fold.sum[row_head] = __builtin_fmaf(fold.sum[row_head], _mm512_cvtss_f32(rescale), sum_lanes(sums));
  fold.max[row_head] = max;
  float* out = fold.out + row_head * fold.head_dim;
  for (std::size_t d = 0; d < fold.head_dim; d += 16) {
    _mm512_storeu_ps(out + d, _mm512_mul_ps(_mm512_loadu_ps(out + d), rescale));
  }
}

// out += weights * values over slots [begin, end) of a run, for `count` rows that all see them.
template <typename Element>
void add_values(const View<Element>& view, const Run<Element>& run, std::size_t begin, std::size_t end,
                std::size_t first, std::size_t row, std::size_t count, const Element* next) {
  if (begin >= end) return;
  const std::size_t dim = view.fold->head_dim;
  for (std::size_t d = 0; d < dim; d += 16 * kTileVectors) {
    product<Element>(count, smaller(kTileVectors, (dim - d) / 16),
                     {.a = view.scores + row * kScoreStride + begin,
                      .a_stride = kScoreStride,
                      .b = run.values + (begin - run.begin) * dim + d,
                      .b_stride = dim,
                      .depth = end - begin,
                      .c = view.fold->out + (first + row) * dim + d,
                      .c_stride = dim,
                      .into = Into::extend,
                      .next = reinterpret_cast<const char*>(next + d)});
  }
}

// Rows of a tile share the slots that all of them see; before and behind those, each goes alone. A value that a row
// does not see is never multiplied, not even by zero: it might be infinite.
template <typename Element>
void value_rows(const View<Element>& view, std::size_t first, std::size_t rows) {
  const FoldStripe& fold = *view.fold;
  const std::uint32_t* const starts = fold.starts + first;
  const std::uint32_t* const limits = fold.limits + first;
  const auto* after = static_cast<const Element*>(fold.next_keys != nullptr ? fold.next_keys : fold.blocks[0].keys);
  for (std::size_t r = 0; r < rows; r += kTileRows) {
    const std::size_t count = smaller(kTileRows, rows - r);
    std::size_t start = 0;
    std::size_t limit = kStripeTokens;
    for (std::size_t j = r; j < r + count; ++j) {
      start = larger(start, starts[j]);
      limit = smaller(limit, limits[j]);
    }
    for (std::size_t i = 0; i < view.run_count; ++i) {
      const Run<Element>& run = view.runs[i];
      const Element* next = i + 1 < view.run_count ? view.runs[i + 1].values : after;
      const std::size_t shared_begin = larger(run.begin, smaller(run.end, start));
      const std::size_t shared_end = larger(shared_begin, smaller(run.end, limit));
      for (std::size_t j = r; j < r + count; ++j) {
        add_values(view, run, larger(run.begin, starts[j]), smaller(shared_begin, limits[j]), first, j, 1, next);
      }
      add_values(view, run, shared_begin, shared_end, first, r, count, next);
      for (std::size_t j = r; j < r + count; ++j) {
        add_values(view, run, larger(shared_end, starts[j]), smaller(run.end, limits[j]), first, j, 1, next);
      }
    }
  }
}

template <typename Element>
void fold_view(const View<Element>& view) {
  const std::size_t row_heads = view.fold->row_heads;
  for (std::size_t first = 0; first < row_heads; first += kFoldRowHeads) {
    const std::size_t rows = smaller(kFoldRowHeads, row_heads - first);
    score_rows(view, first, rows);
    for (std::size_t r = 0; r < rows; ++r) {
      float* const scores = view.scores + r * kScoreStride;
      if (view.fold->soft_cap > 0) cap_scores(view, first + r, scores);
      if (view.fold->page_max != nullptr) sum_pages(view, first + r, scores);
      weigh_row(view, first + r, scores);
    }
    value_rows(view, first, rows);
  }
}

template <typename Element>
void look_at_stored(const FoldStripe& fold, View<Element>& view) {
  const Element* keys[kMaxBlocks];
  const Element* values[kMaxBlocks];
  for (std::uint32_t b = 0; b < fold.block_count; ++b) {
    keys[b] = static_cast<const Element*>(fold.blocks[b].keys);
    values[b] = static_cast<const Element*>(fold.blocks[b].values);
  }
  look_at(fold, keys, values, view);
}

void widen(const Half* from, std::size_t count, float* to) {
  for (std::size_t i = 0; i < count; i += 16) _mm512_store_ps(to + i, load(from + i));
}

// The panels and runs of `stored` as float32 in scratch; values that no row sees are not read.
void look_at_widened(const FoldStripe& fold, const View<Half>& stored, View<float>& view) {
  const std::size_t dim = fold.head_dim;
  float* const key_memory = fold.scratch;
  float* const value_memory = key_memory + kStripeTokens * dim;
  for (std::size_t i = 0; i < stored.panel_count; ++i) {
    const Panel<Half>& panel = stored.panels[i];
    widen(panel.keys, kPanelTokens * dim, key_memory + panel.begin * dim);
  }
  for (std::size_t i = 0; i < stored.run_count; ++i) {
    const Run<Half>& run = stored.runs[i];
    widen(run.values, (run.end - run.begin) * dim, value_memory + run.begin * dim);
  }
  const float* keys[kMaxBlocks];
  const float* values[kMaxBlocks];
  for (std::size_t b = 0; b < fold.block_count; ++b) {
    keys[b] = key_memory + b * kBlockTokens * dim;
    values[b] = value_memory + b * kBlockTokens * dim;
  }
  look_at(fold, keys, values, view);
}

}  // namespace

void fold_stripe(const FoldStripe& fold) {
  float* const scores = fold.scratch + 2 * kStripeTokens * fold.head_dim;
  View<float> view;
  if (fold.type == KvType::f32) {
    look_at_stored(fold, view);
  } else {
    View<Half> stored;
    look_at_stored(fold, stored);
    if (fold.row_heads <= kDirectRowHeads) {
      stored.scores = scores;
      return fold_view(stored);
    }
    look_at_widened(fold, stored, view);
  }
  view.scores = scores;
  fold_view(view);
}

}  // namespace rotulus::kernels::cpu::avx512
