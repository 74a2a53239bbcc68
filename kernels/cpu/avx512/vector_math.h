// exp and ln of whole vectors, and reductions of a fixed shape.
#pragma once

#include <immintrin.h>

#include "kernels/cpu/elementary.h"

namespace rotulus::kernels::cpu::avx512 {
namespace {

// One float in all lanes, loaded as an integer: for a float Zen 4 takes a shuffle, and so now and then an FMA's port.
[[gnu::always_inline]] inline __m512 load_all(const float* from) {
  int bits;
  __builtin_memcpy(&bits, from, sizeof bits);
  return _mm512_castsi512_ps(_mm512_set1_epi32(bits));
}

// (2^r - 1) / r for |r| <= 1/2: a minimax fit of the relative error, 2e-9 before rounding.
[[gnu::always_inline]] inline __m512 exp2_slope(__m512 r) {
  __m512 p = _mm512_set1_ps(0x1.41fbbcp-13f);
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0x1.5f3e54p-10f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0x1.3b2d4cp-7f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0x1.c6aee8p-5f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0x1.ebfbdcp-3f));
  return _mm512_fmadd_ps(p, r, _mm512_set1_ps(0x1.62e43p-1f));
}

// 2^r for |r| <= 1/2; 2^0 is exactly 1.
[[gnu::always_inline]] inline __m512 exp2_fraction(__m512 r) {
  return _mm512_fmadd_ps(exp2_slope(r), r, _mm512_set1_ps(1.0f));
}

constexpr int kNearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;

// e^x of any x; infinite above 104, 0 below -104, NaN of NaN.
[[gnu::always_inline]] inline __m512 exp_any(__m512 x) {
  // The second operand is returned where one is NaN: x stands there.
  x = _mm512_min_ps(_mm512_set1_ps(104.0f), _mm512_max_ps(_mm512_set1_ps(-104.0f), x));
  const __m512 log2e = _mm512_set1_ps(0x1.715476p+0f);
  const __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, log2e), kNearest);
  __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0x1.62e4p-1f), x);
  r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0x1.7f7d1cp-20f), r);
  return _mm512_scalef_ps(exp2_fraction(_mm512_mul_ps(r, log2e)), n);
}

// tanh x = e / (e + 2) with e = e^2x - 1, exact where x is small because 2^f - 1 is had as a product. NaN of NaN.
[[gnu::always_inline]] inline __m512 tanh_any(__m512 x) {
  // Beyond 9.01 the result is 1 in float.
  x = _mm512_min_ps(_mm512_set1_ps(10.0f), _mm512_max_ps(_mm512_set1_ps(-10.0f), x));
  const __m512 twice = _mm512_mul_ps(x, _mm512_set1_ps(0x1.715476p+1f));
  const __m512 n = _mm512_roundscale_ps(twice, kNearest);
  const __m512 r = _mm512_sub_ps(twice, n);
  const __m512 one = _mm512_set1_ps(1.0f);
  const __m512 power = _mm512_scalef_ps(one, n);
  const __m512 e = _mm512_fmadd_ps(power, _mm512_mul_ps(exp2_slope(r), r), _mm512_sub_ps(power, one));
  return _mm512_div_ps(e, _mm512_add_ps(e, _mm512_set1_ps(2.0f)));
}

// exp_double and log_double of elementary.h, eight at once.
[[gnu::always_inline]] inline __m512d exp_doubles(__m512d x) {
  const __mmask8 keep = _mm512_cmp_pd_mask(x, _mm512_set1_pd(-708.0), _CMP_NLT_UQ);  // NaN is kept
  const __m512d n = _mm512_roundscale_pd(_mm512_mul_pd(x, _mm512_set1_pd(kLog2E)), kNearest);
  __m512d r = _mm512_fnmadd_pd(n, _mm512_set1_pd(kLn2Parts[0]), x);
  r = _mm512_fnmadd_pd(n, _mm512_set1_pd(kLn2Parts[1]), r);
  __m512d sum = _mm512_set1_pd(kExpTaylor[13]);
#pragma GCC unroll 13
  for (int i = 12; i >= 0; --i) sum = _mm512_fmadd_pd(sum, r, _mm512_set1_pd(kExpTaylor[i]));
  return _mm512_maskz_scalef_pd(keep, sum, n);
}

[[gnu::always_inline]] inline __m512d log_doubles(__m512d x) {
  // Mantissa in [0.75, 1.5) and the exponent that goes with it.
  const __m512d m = _mm512_getmant_pd(x, _MM_MANT_NORM_p75_1p5, _MM_MANT_SIGN_src);
  const __m512d e = _mm512_getexp_pd(_mm512_div_pd(x, m));
  const __m512d one = _mm512_set1_pd(1.0);
  const __m512d s = _mm512_div_pd(_mm512_sub_pd(m, one), _mm512_add_pd(m, one));
  const __m512d square = _mm512_mul_pd(s, s);
  __m512d sum = _mm512_set1_pd(kArtanhSeries[10]);
#pragma GCC unroll 10
  for (int i = 9; i >= 0; --i) sum = _mm512_fmadd_pd(sum, square, _mm512_set1_pd(kArtanhSeries[i]));
  return _mm512_fmadd_pd(e, _mm512_set1_pd(kLn2), _mm512_mul_pd(_mm512_add_pd(s, s), sum));
}

// Sum of 16 lanes, halves upon halves.
[[gnu::always_inline]] inline float sum_lanes(__m512 x) {
  const __m256 a = _mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
  const __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  const __m128 c = _mm_add_ps(b, _mm_movehl_ps(b, b));
  return _mm_cvtss_f32(_mm_add_ss(c, _mm_movehdup_ps(c)));
}

[[gnu::always_inline]] inline float max_lanes(__m512 x) {
  const __m256 a = _mm256_max_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
  const __m128 b = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  const __m128 c = _mm_max_ps(b, _mm_movehl_ps(b, b));
  return _mm_cvtss_f32(_mm_max_ss(c, _mm_movehdup_ps(c)));
}

// The first `count` of 16 lanes.
[[gnu::always_inline]] inline __mmask16 first_lanes(std::size_t count) {
  return count >= 16 ? static_cast<__mmask16>(0xffff) : static_cast<__mmask16>((1u << count) - 1);
}

}  // namespace
}  // namespace rotulus::kernels::cpu::avx512
