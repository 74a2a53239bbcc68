// One stripe folded into running softmaxes. Keys and values in f16 are widened to float32 once for many row heads, or
// in registers for a few: conversion is exact and the FMA chains are the same, so both give the same bits.
#include <immintrin.h>

#include "kernels/cpu/avx512/kernels.h"
#include "kernels/cpu/avx512/microkernel.h"
#include "kernels/cpu/avx512/vector_math.h"

namespace rotulus::kernels::cpu::avx512 {
namespace {

constexpr std::size_t kDirectRowHeads = 12;  // up to here widening in registers is cheaper than through memory
constexpr std::size_t kPagesPerPanel = kPanelTokens / kPageTokens;
constexpr std::size_t kPanelsPerBlock = kBlockTokens / kPanelTokens;
constexpr std::size_t kMaxBlocks = kStripeTokens / kBlockTokens;
constexpr float kNothing = -__builtin_inff();

// Tokens [begin, end) of a block that are attended: a run of set pages, cut at panels, so that its values fit into L1.
struct Run {
  std::uint32_t block;
  std::uint32_t begin;
  std::uint32_t end;
};

// The stripe as the loops below see it.
template <typename Element>
struct View {
  const FoldStripe* fold;
  const Element* keys[kMaxBlocks];
  const Element* values[kMaxBlocks];
  Run runs[kMaxBlocks * kBlockTokens / kPageTokens];
  std::size_t run_count;
  float* scores;  // [kFoldRowHeads][kScoreStride]; token t of block b at 128 b + t
};

std::size_t find_runs(const FoldStripe& fold, Run* runs) {
  std::size_t count = 0;
  for (std::uint32_t b = 0; b < fold.block_count; ++b) {
    const FoldBlock& block = fold.blocks[b];
    bool open = false;
    for (std::uint32_t t = 0; t < block.limit_max; t += kPageTokens) {
      const bool used = block.page_mask >> (t / kPageTokens) & 1u;
      if (used && (!open || t % kPanelTokens == 0)) runs[count++] = {b, t, t};
      if (used) runs[count - 1].end = t + kPageTokens < block.limit_max ? t + kPageTokens : block.limit_max;
      open = used;
    }
  }
  return count;
}

std::size_t smaller(std::size_t a, std::size_t b) {
  return a < b ? a : b;
}

// The panels of a run's keys, and its values, as float32 in scratch.
void widen(const FoldStripe& fold, const Run* runs, std::size_t run_count, float* keys, float* values) {
  const std::size_t dim = fold.head_dim;
  const std::size_t block_elements = kBlockTokens * dim;
  for (std::size_t i = 0; i < run_count; ++i) {
    const Run& run = runs[i];
    const std::size_t panel = run.begin / kPanelTokens;
    const std::size_t at = panel * dim * kPanelTokens;
    const bool first_of_panel = i == 0 || runs[i - 1].block != run.block || runs[i - 1].begin / kPanelTokens != panel;
    if (first_of_panel) {
      const auto* from = static_cast<const Half*>(fold.blocks[run.block].keys) + at;
      float* to = keys + run.block * block_elements + at;
      for (std::size_t e = 0; e < dim * kPanelTokens; e += 16) _mm512_store_ps(to + e, load(from + e));
    }
    const auto* from = static_cast<const Half*>(fold.blocks[run.block].values);
    float* to = values + run.block * block_elements;
    for (std::size_t e = run.begin * dim; e < run.end * dim; e += 16) _mm512_store_ps(to + e, load(from + e));
  }
}

// Scores of `rows` row heads from `first` on, for whole panels; what a row does not see is garbage.
template <typename Element>
void score_rows(const View<Element>& view, std::size_t first, std::size_t rows) {
  const FoldStripe& fold = *view.fold;
  const std::size_t dim = fold.head_dim;
  for (std::size_t i = 0; i < view.run_count; ++i) {
    const Run& run = view.runs[i];
    const std::size_t panel = run.begin / kPanelTokens;
    if (i > 0 && view.runs[i - 1].block == run.block && view.runs[i - 1].begin / kPanelTokens == panel) continue;
    const FoldBlock& block = fold.blocks[run.block];
    const Element* keys = view.keys[run.block] + panel * dim * kPanelTokens;
    const bool last = i + 1 == view.run_count;
    const Element* next =
        last ? view.values[view.runs[0].block] + view.runs[0].begin * dim
             : view.keys[view.runs[i + 1].block] + view.runs[i + 1].begin / kPanelTokens * dim * kPanelTokens;
    for (std::size_t r = 0; r < rows; r += kTileRows) {
      const std::size_t count = smaller(kTileRows, rows - r);
      std::uint32_t limit = 0;
      for (std::size_t j = 0; j < count; ++j)
        limit = limit < block.limits[first + r + j] ? block.limits[first + r + j] : limit;
      if (limit <= panel * kPanelTokens) continue;  // past the diagonal for all of them
      product<Element>(count, kTileVectors,
                       {.a = block.queries + (first + r) * dim,
                        .a_stride = dim,
                        .b = keys,
                        .b_stride = kPanelTokens,
                        .depth = dim,
                        .c = view.scores + r * kScoreStride + run.block * kBlockTokens + panel * kPanelTokens,
                        .c_stride = kScoreStride,
                        .accumulate = false,
                        .next = reinterpret_cast<const char*>(next)});
    }
  }
}

// Calls step(scores, mask) for each vector of tokens that the row head sees, ascending.
template <typename Element, typename Step>
[[gnu::always_inline]] inline void for_seen(const View<Element>& view, std::size_t row_head, float* scores,
                                            const Step& step) {
  for (std::size_t i = 0; i < view.run_count; ++i) {
    const Run& run = view.runs[i];
    const std::size_t end = smaller(run.end, view.fold->blocks[run.block].limits[row_head]);
    for (std::size_t t = run.begin; t < end; t += 16) step(scores + run.block * kBlockTokens + t, first_lanes(end - t));
  }
}

// Turns the scores of one row head into weights 2^(score - max), and rescales what it has summed so far. The sum has
// one shape: lane l of a vector adds tokens l, l + 16, ... ascending, then the lanes are added. Tokens not seen would
// add exact zeros, so it does not matter which of them are left out.
template <typename Element>
void weigh_row(const View<Element>& view, std::size_t row_head, float* scores) {
  const FoldStripe& fold = *view.fold;
  __m512 largest = _mm512_set1_ps(kNothing);
  for_seen(view, row_head, scores, [&](const float* at, __mmask16 mask) {
    largest = _mm512_mask_max_ps(largest, mask, largest, _mm512_loadu_ps(at));
  });
  const float stripe_max = max_lanes(largest);
  if (stripe_max == kNothing) {
    for_seen(view, row_head, scores, [&](float* at, __mmask16) { _mm512_storeu_ps(at, _mm512_setzero_ps()); });
    return;
  }
  const float max = stripe_max <= fold.max[row_head] ? fold.max[row_head] : stripe_max;
  const __m512 all_max = _mm512_set1_ps(max);
  __m512 sums = _mm512_setzero_ps();
  for_seen(view, row_head, scores, [&](float* at, __mmask16 mask) {
    const __m512 weights = exp2_masked(mask, _mm512_sub_ps(_mm512_loadu_ps(at), all_max));
    sums = _mm512_add_ps(sums, weights);
    _mm512_storeu_ps(at, weights);
  });
  const __m512 rescale = exp2_masked(0xffff, _mm512_sub_ps(_mm512_set1_ps(fold.max[row_head]), all_max));
  fold.sum[row_head] = __builtin_fmaf(fold.sum[row_head], _mm512_cvtss_f32(rescale), sum_lanes(sums));
  fold.max[row_head] = max;
  float* out = fold.out + row_head * fold.head_dim;
  for (std::size_t d = 0; d < fold.head_dim; d += 16) {
    _mm512_storeu_ps(out + d, _mm512_mul_ps(_mm512_loadu_ps(out + d), rescale));
  }
}

// out += weights * values over tokens [begin, end) of the run's block, for `count` rows that all see them.
template <typename Element>
void add_values(const View<Element>& view, const Run& run, std::size_t begin, std::size_t end, std::size_t first,
                std::size_t row, std::size_t count, const Element* next) {
  if (begin >= end) return;
  const std::size_t dim = view.fold->head_dim;
  for (std::size_t d = 0; d < dim; d += 16 * kTileVectors) {
    product<Element>(count, smaller(kTileVectors, (dim - d) / 16),
                     {.a = view.scores + row * kScoreStride + run.block * kBlockTokens + begin,
                      .a_stride = kScoreStride,
                      .b = view.values[run.block] + begin * dim + d,
                      .b_stride = dim,
                      .depth = end - begin,
                      .c = view.fold->out + (first + row) * dim + d,
                      .c_stride = dim,
                      .accumulate = true,
                      .next = reinterpret_cast<const char*>(next + d)});
  }
}

// Rows of a tile share the tokens that all of them see; past those, each goes on alone to its own limit. A value that a
// row does not see is never multiplied, not even by zero: it might be infinite.
template <typename Element>
void value_rows(const View<Element>& view, std::size_t first, std::size_t rows) {
  const FoldStripe& fold = *view.fold;
  const auto* after = static_cast<const Element*>(fold.next_keys != nullptr ? fold.next_keys : fold.blocks[0].keys);
  for (std::size_t i = 0; i < view.run_count; ++i) {
    const Run& run = view.runs[i];
    const std::uint32_t* limits = fold.blocks[run.block].limits + first;
    const bool last = i + 1 == view.run_count;
    const Element* next = last ? after : view.values[view.runs[i + 1].block] + view.runs[i + 1].begin * fold.head_dim;
    for (std::size_t r = 0; r < rows; r += kTileRows) {
      const std::size_t count = smaller(kTileRows, rows - r);
      std::size_t shared = run.end;
      for (std::size_t j = 0; j < count; ++j) shared = smaller(shared, limits[r + j]);
      add_values(view, run, run.begin, shared, first, r, count, next);
      const std::size_t begin = shared > run.begin ? shared : run.begin;
      for (std::size_t j = 0; j < count; ++j) {
        add_values(view, run, begin, smaller(run.end, limits[r + j]), first, r + j, 1, next);
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
    for (std::size_t r = 0; r < rows; ++r) weigh_row(view, first + r, view.scores + r * kScoreStride);
    value_rows(view, first, rows);
  }
}

template <typename Element>
void fold_stored(const FoldStripe& fold, float* scores) {
  View<Element> view;
  view.fold = &fold;
  view.scores = scores;
  view.run_count = find_runs(fold, view.runs);
  for (std::uint32_t b = 0; b < fold.block_count; ++b) {
    view.keys[b] = static_cast<const Element*>(fold.blocks[b].keys);
    view.values[b] = static_cast<const Element*>(fold.blocks[b].values);
  }
  fold_view(view);
}

void fold_widened(const FoldStripe& fold, float* scores) {
  float* keys = fold.scratch;
  float* values = keys + kStripeTokens * fold.head_dim;
  View<float> view;
  view.fold = &fold;
  view.scores = scores;
  view.run_count = find_runs(fold, view.runs);
  for (std::uint32_t b = 0; b < fold.block_count; ++b) {
    view.keys[b] = keys + b * kBlockTokens * fold.head_dim;
    view.values[b] = values + b * kBlockTokens * fold.head_dim;
  }
  widen(fold, view.runs, view.run_count, keys, values);
  fold_view(view);
}

}  // namespace

void fold_stripe(const FoldStripe& fold) {
  float* scores = fold.scratch + 2 * kStripeTokens * fold.head_dim;
  if (fold.type == KvType::f32) {
    fold_stored<float>(fold, scores);
  } else if (fold.row_heads <= kDirectRowHeads) {
    fold_stored<Half>(fold, scores);
  } else {
    fold_widened(fold, scores);
  }
}

}  // namespace rotulus::kernels::cpu::avx512
