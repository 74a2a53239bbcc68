// What pages promise: scores from landmarks, their sums and votes.
#include "kernels/cpu/avx2/simd.h"
#include "kernels/cpu/elementary.h"
#include "kernels/cpu/row_kernels.h"
#include "kernels/cpu/wide/panel_pages.h"
#include "kernels/cpu/wide/product.h"

namespace rotulus::kernels::cpu::avx2 {
namespace {

using Floats = Simd::Floats;

std::size_t smaller(std::size_t a, std::size_t b) {
  return a < b ? a : b;
}

// The levels of eight codes, the lowest bits of the lanes.
[[gnu::always_inline]] inline __m256 levels_of(__m256i codes, __m128 levels) {
  return _mm256_permutevar_ps(_mm256_broadcast_ps(&levels), codes);
}

// The keys of up to four pages as the landmarks have them, [head_dim][64 tokens].
void unpack_keys(const LandmarkView& landmarks, const PanelPages& pages, std::size_t dim, float* panel) {
  const __m128 levels = _mm_set_ps(kSketchLevels[3], kSketchLevels[2], kSketchLevels[1], kSketchLevels[0]);
  const __m256i low = _mm256_set_epi32(14, 12, 10, 8, 6, 4, 2, 0);
  const __m256i high = _mm256_set_epi32(30, 28, 26, 24, 22, 20, 18, 16);
  for (std::size_t c = 0; c < dim; ++c) {
    const Floats scale = Simd::all(decode_scale(landmarks.scales[c]));
    for (std::uint32_t p = 0; p < pages.count; ++p) {
      const std::size_t at = pages.index[p] * dim + c;
      const __m256i word = _mm256_set1_epi32(static_cast<int>(landmarks.sketch[at]));
      const Floats level{levels_of(_mm256_srlv_epi32(word, low), levels),
                         levels_of(_mm256_srlv_epi32(word, high), levels)};
      const Floats mean = Simd::all(f16_to_float(landmarks.means[at]));
      Simd::store(panel + c * kPanelTokens + p * kPageTokens, Simd::fma(level, scale, mean));
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
    for (std::size_t row = 0; row < task.row_heads; row += kFoldTileRows) {
      const std::size_t rows = smaller(kFoldTileRows, task.row_heads - row);
      product<Kernel<Simd, KvType::f32, 0, 0, Into::store>>(rows, pages.count,
                                                            {.a = task.queries + row * dim,
                                                             .a_stride = dim,
                                                             .b = reinterpret_cast<const std::byte*>(panel),
                                                             .b_stride = kPanelTokens * sizeof(float),
                                                             .depth = dim,
                                                             .c = products,
                                                             .c_stride = kPanelTokens,
                                                             .scales = nullptr,
                                                             .next = nullptr});
      for (std::size_t r = 0; r < rows; ++r) {
        float* scores = task.scores + (row + r) * task.stride;
        for (std::uint32_t p = 0; p < pages.count; ++p) {
          scores[pages.index[p]] = Simd::largest(Simd::load(products + r * kPanelTokens + p * kPageTokens));
        }
      }
    }
  }
}

// Lane j of the vectors holds the elements j, j + 16, ...; then halves upon halves.
float sum_scores(const float* scores, std::size_t count) {
  const Floats nothing = Simd::all(-__builtin_inff());
  Floats most = nothing;
  for (std::size_t i = 0; i < count; i += 16) {
    const Simd::Lanes lanes = Simd::lanes(0, smaller(16, count - i));
    most = Simd::max(most, Simd::select(lanes, Simd::load(lanes, scores + i), nothing));
  }
  const float top = Simd::largest(most);
  if (top == -__builtin_inff()) return top;
  Floats sums = Simd::zero();
  for (std::size_t i = 0; i < count; i += 16) {
    const Simd::Lanes lanes = Simd::lanes(0, smaller(16, count - i));
    const Floats weights = Simd::exp(Simd::sub(Simd::load(lanes, scores + i), Simd::all(top)));
    sums = Simd::add(sums, Simd::select(lanes, weights, Simd::zero()));
  }
  return static_cast<float>(top + log_double(Simd::sum(sums)));
}

void raise_votes(const float* scores, float lse, std::size_t count, float* votes) {
  for (std::size_t i = 0; i < count; i += 16) {
    const Simd::Lanes lanes = Simd::lanes(0, smaller(16, count - i));
    const Floats vote = Simd::sub(Simd::load(lanes, scores + i), Simd::all(lse));
    Simd::store(lanes, votes + i, Simd::max(vote, Simd::load(lanes, votes + i)));
  }
}

}  // namespace rotulus::kernels::cpu::avx2
