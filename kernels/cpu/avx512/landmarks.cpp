// What pages promise: scores from landmarks, their sums and votes.
#include <immintrin.h>

#include "kernels/cpu/avx512/microkernel.h"
#include "kernels/cpu/avx512/vector_math.h"
#include "kernels/cpu/half.h"
#include "kernels/cpu/row_kernels.h"
#include "kernels/cpu/wide/panel_pages.h"

namespace rotulus::kernels::cpu::avx512 {
namespace {

// The keys of up to four pages as the landmarks have them, [head_dim][64 tokens].
void unpack_keys(const LandmarkView& landmarks, const PanelPages& pages, std::size_t dim, float* panel) {
  const __m512 levels = _mm512_broadcast_f32x4(_mm_loadu_ps(kSketchLevels));
  const __m512i shifts = _mm512_set_epi32(30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
  for (std::size_t c = 0; c < dim; ++c) {
    const __m512 scale = _mm512_set1_ps(decode_scale(landmarks.scales[c]));
    for (std::uint32_t p = 0; p < pages.count; ++p) {
      const std::size_t at = pages.index[p] * dim + c;
      const __m512i codes = _mm512_srlv_epi32(_mm512_set1_epi32(static_cast<int>(landmarks.sketch[at])), shifts);
      // The table repeats every four entries, so the higher bits of a lane need not be cleared.
      const __m512 level = _mm512_permutexvar_ps(codes, levels);
      const __m512 mean = _mm512_set1_ps(_cvtsh_ss(landmarks.means[at]));
      _mm512_storeu_ps(panel + c * kPanelTokens + p * kPageTokens, _mm512_fmadd_ps(level, scale, mean));
    }
  }
}

}  // namespace

void score_block(const ScoreBlock& task) {
  const std::size_t dim = task.head_dim;
  float* panel = task.scratch;
  float* products = panel + dim * kPanelTokens;  // [6][64]
  for (std::uint32_t left = task.pages; left != 0;) {
    const PanelPages pages = take_pages(left);
    unpack_keys(task.landmarks, pages, dim, panel);
    for (std::size_t row = 0; row < task.row_heads; row += kTileRows) {
      const std::size_t rows = task.row_heads - row < kTileRows ? task.row_heads - row : kTileRows;
      product<FmaTerm>(rows, pages.count,
                       {.a = task.queries + row * dim,
                        .a_stride = dim,
                        .b = panel,
                        .b_stride = kPanelTokens,
                        .depth = dim,
                        .c = products,
                        .c_stride = kPanelTokens,
                        .accumulate = false,
                        .next = task.queries});
      for (std::size_t r = 0; r < rows; ++r) {
        float* scores = task.scores + (row + r) * task.stride;
        for (std::uint32_t p = 0; p < pages.count; ++p) {
          scores[pages.index[p]] = max_lanes(_mm512_loadu_ps(products + r * kPanelTokens + p * kPageTokens));
        }
      }
    }
  }
}

// Lane j of the vectors holds the elements j, j + 16, ...; then halves upon halves.
float sum_scores(const float* scores, std::size_t count) {
  const __m512 nothing = _mm512_set1_ps(-__builtin_inff());
  __m512 most = nothing;
  for (std::size_t i = 0; i < count; i += 16) {
    most = _mm512_max_ps(most, _mm512_mask_loadu_ps(nothing, first_lanes(count - i), scores + i));
  }
  const float top = max_lanes(most);
  if (top == -__builtin_inff()) return top;
  const __m512 offset = _mm512_set1_ps(top);
  __m512 sums = _mm512_setzero_ps();
  for (std::size_t i = 0; i < count; i += 16) {
    const __mmask16 mask = first_lanes(count - i);
    const __m512 x = _mm512_sub_ps(_mm512_maskz_loadu_ps(mask, scores + i), offset);
    sums = _mm512_mask_add_ps(sums, mask, sums, exp_any(x));
  }
  return static_cast<float>(top + log_double(sum_lanes(sums)));
}

void raise_votes(const float* scores, float lse, std::size_t count, float* votes) {
  const __m512 offset = _mm512_set1_ps(lse);
  for (std::size_t i = 0; i < count; i += 16) {
    const __mmask16 mask = first_lanes(count - i);
    const __m512 vote = _mm512_sub_ps(_mm512_maskz_loadu_ps(mask, scores + i), offset);
    _mm512_mask_storeu_ps(votes + i, mask, _mm512_max_ps(vote, _mm512_maskz_loadu_ps(mask, votes + i)));
  }
}

}  // namespace rotulus::kernels::cpu::avx512
