// Prefill products in bf16 (bf16_kernels.h).
#include "kernels/cpu/bf16_kernels.h"

#include "kernels/cpu/avx512/panel_product.h"
#include "kernels/cpu/avx512/vector_math.h"

namespace rotulus::kernels::cpu {
namespace avx512 {
namespace {

struct DotTerm {
  [[gnu::always_inline]] static __m512 add(__m512 sum, __m512 a, __m512 b) {
    return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b);
  }
};

[[gnu::always_inline]] inline __m512i rounded(const float* x) {
  return _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(_mm512_loadu_ps(x)));
}

void round_row(const float* x, std::size_t columns, float* pairs) {
  for (std::size_t k = 0; k < columns; k += 32) {
    const std::size_t count = smaller(32, columns - k);
    const __m512 low = _mm512_maskz_loadu_ps(first_lanes(count), x + k);
    const __m512 high = _mm512_maskz_loadu_ps(first_lanes(count > 16 ? count - 16 : 0), x + k + 16);
    const auto both = (__m512)_mm512_cvtne2ps_pbh(high, low);
    _mm512_mask_storeu_ps(pairs + k / 2, first_lanes((count + 1) / 2), both);
  }
}

void round_panel(const float* panel, std::size_t depth, float* pairs) {
  for (std::size_t k = 0; k < depth; k += 2) {
    for (std::size_t c = 0; c < kPanelColumns; c += 16) {
      const float* const x = panel + k * kPanelColumns + c;
      __m512i both = rounded(x);
      if (k + 1 < depth) both = _mm512_or_si512(both, _mm512_slli_epi32(rounded(x + kPanelColumns), 16));
      _mm512_storeu_si512(pairs + k / 2 * kPanelColumns + c, both);
    }
  }
}

void multiply_pairs(const PanelProduct& p) {
  multiply_panel_with<DotTerm, kSumRun / 2>(p);
}

}  // namespace
}  // namespace avx512

const Bf16Kernels& avx512_bf16_kernels() {
  static constexpr Bf16Kernels kKernels = {
      .round_row = avx512::round_row, .round_panel = avx512::round_panel, .multiply_panel = avx512::multiply_pairs};
  return kKernels;
}

}  // namespace rotulus::kernels::cpu
