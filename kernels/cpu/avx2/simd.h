// Sixteen floats in two registers, as kernels/cpu/wide wants them of a row.
#pragma once

#include <immintrin.h>

#include "kernels/cpu/kv_codes.h"
#include "kernels/cpu/wide/all_lanes.h"

namespace rotulus::kernels::cpu::avx2 {
namespace {

#define ROTULUS_INLINE [[gnu::always_inline]] static inline

struct Simd {
  struct Floats {
    __m256 low;
    __m256 high;
  };
  using Lanes = Floats;                           // all bits of a lane set, or none
  static constexpr std::size_t kTileVectors = 1;  // 6 x 1 pairs of accumulators, one pair of B and one of A: 15 of 16

  ROTULUS_INLINE Floats all(__m256 x) { return {x, x}; }
  ROTULUS_INLINE Floats all(float x) { return all(_mm256_set1_ps(x)); }
  ROTULUS_INLINE Floats zero() { return all(_mm256_setzero_ps()); }
  ROTULUS_INLINE Floats load_all(const float* from) { return all(*from); }
  ROTULUS_INLINE Floats load(const float* from) { return {_mm256_loadu_ps(from), _mm256_loadu_ps(from + 8)}; }
  ROTULUS_INLINE void store(float* to, Floats x) {
    _mm256_storeu_ps(to, x.low);
    _mm256_storeu_ps(to + 8, x.high);
  }

  ROTULUS_INLINE Floats add(Floats a, Floats b) { return {_mm256_add_ps(a.low, b.low), _mm256_add_ps(a.high, b.high)}; }
  ROTULUS_INLINE Floats sub(Floats a, Floats b) { return {_mm256_sub_ps(a.low, b.low), _mm256_sub_ps(a.high, b.high)}; }
  ROTULUS_INLINE Floats mul(Floats a, Floats b) { return {_mm256_mul_ps(a.low, b.low), _mm256_mul_ps(a.high, b.high)}; }
  ROTULUS_INLINE Floats div(Floats a, Floats b) { return {_mm256_div_ps(a.low, b.low), _mm256_div_ps(a.high, b.high)}; }
  ROTULUS_INLINE Floats fma(Floats a, Floats b, Floats c) {
    return {_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high)};
  }
  // Of the two, the second where one is NaN; so are min and clamp.
  ROTULUS_INLINE Floats max(Floats a, Floats b) { return {_mm256_max_ps(a.low, b.low), _mm256_max_ps(a.high, b.high)}; }
  ROTULUS_INLINE Floats min(Floats a, Floats b) { return {_mm256_min_ps(a.low, b.low), _mm256_min_ps(a.high, b.high)}; }
  ROTULUS_INLINE Floats clamp(Floats x, float limit) { return min(all(limit), max(all(-limit), x)); }
  ROTULUS_INLINE Floats round(Floats x) {
    constexpr int kNearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
    return {_mm256_round_ps(x.low, kNearest), _mm256_round_ps(x.high, kNearest)};
  }

  // Halves upon halves.
  ROTULUS_INLINE float sum(Floats x) {
    const __m256 a = _mm256_add_ps(x.low, x.high);
    const __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    const __m128 c = _mm_add_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_add_ss(c, _mm_movehdup_ps(c)));
  }
  ROTULUS_INLINE float largest(Floats x) {
    const __m256 a = _mm256_max_ps(x.low, x.high);
    const __m128 b = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    const __m128 c = _mm_max_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_max_ss(c, _mm_movehdup_ps(c)));
  }

  // Lanes [begin, end).
  ROTULUS_INLINE Lanes lanes(std::size_t begin, std::size_t end) {
    const __m256i low = _mm256_set_epi32(7, 6, 5, 4, 3, 2, 1, 0);
    const __m256i high = _mm256_add_epi32(low, _mm256_set1_epi32(8));
    const __m256i first = _mm256_set1_epi32(static_cast<int>(begin) - 1);
    const __m256i last = _mm256_set1_epi32(static_cast<int>(end));
    const auto between = [&](__m256i index) __attribute__((always_inline)) {
      return _mm256_castsi256_ps(_mm256_and_si256(_mm256_cmpgt_epi32(index, first), _mm256_cmpgt_epi32(last, index)));
    };
    return {between(low), between(high)};
  }
  // a in the lanes given, b in the others.
  ROTULUS_INLINE Floats select(Lanes lanes, Floats a, Floats b) {
    return {_mm256_blendv_ps(b.low, a.low, lanes.low), _mm256_blendv_ps(b.high, a.high, lanes.high)};
  }
  ROTULUS_INLINE Floats select(AllLanes, Floats a, Floats) { return a; }

  // Zeros outside of the lanes, whose memory is not touched.
  ROTULUS_INLINE Floats load(Lanes lanes, const float* from) {
    return {_mm256_maskload_ps(from, _mm256_castps_si256(lanes.low)),
            _mm256_maskload_ps(from + 8, _mm256_castps_si256(lanes.high))};
  }
  ROTULUS_INLINE void store(Lanes lanes, float* to, Floats x) {
    _mm256_maskstore_ps(to, _mm256_castps_si256(lanes.low), x.low);
    _mm256_maskstore_ps(to + 8, _mm256_castps_si256(lanes.high), x.high);
  }

  // Sixteen neighbouring codes of keys or values.
  template <KvType kType>
  ROTULUS_INLINE Floats load_codes(const std::byte* from) {
    const auto bits = [&](std::size_t byte) __attribute__((always_inline)) {
      return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + byte));
    };
    if constexpr (kType == KvType::f32) return load(reinterpret_cast<const float*>(from));
    if constexpr (kType == KvType::f16) return {_mm256_cvtph_ps(bits(0)), _mm256_cvtph_ps(bits(16))};
    if constexpr (kType == KvType::bf16) {
      const auto widen = [](__m128i x) __attribute__((always_inline)) {
        return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(x), 16));
      };
      return {widen(bits(0)), widen(bits(16))};
    }
    if constexpr (kType == KvType::int8) {
      const __m128i bytes = bits(0);
      return {_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes)),
              _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(bytes, 8)))};
    }
    if constexpr (kType == KvType::int4) {
      const __m256i pairs = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from)));
      const auto level = [](__m256i code) __attribute__((always_inline)) {
        return _mm256_sub_ps(_mm256_cvtepi32_ps(code), _mm256_set1_ps(kInt4Levels));
      };
      return {level(_mm256_and_si256(pairs, _mm256_set1_epi32(15))), level(_mm256_srli_epi32(pairs, 4))};
    }
  }

  template <KvType kType>
  static constexpr bool kLoadsTransposed = false;

  // 2^n for an integer n in [-126, 0].
  ROTULUS_INLINE float power_of_two(float n) {
    return __builtin_bit_cast(float, (static_cast<std::int32_t>(n) + 127) << 23);
  }
  // 2^n for integers n in [-126, 127].
  ROTULUS_INLINE Floats powers_of_two(Floats n) {
    const auto power = [](__m256 x) __attribute__((always_inline)) {
      return _mm256_castsi256_ps(
          _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(x), _mm256_set1_epi32(127)), 23));
    };
    return {power(n.low), power(n.high)};
  }

  // (2^r - 1) / r for |r| <= 1/2: a minimax fit, 2e-9 of 2^r.
  ROTULUS_INLINE Floats exp2_slope(Floats r) {
    Floats p = fma(all(0x1.41fbbcp-13f), r, all(0x1.5f3e54p-10f));
    p = fma(p, r, all(0x1.3b2d4cp-7f));
    p = fma(p, r, all(0x1.c6aee8p-5f));
    p = fma(p, r, all(0x1.ebfbdcp-3f));
    return fma(p, r, all(0x1.62e43p-1f));
  }

  // e^x of any x; infinite above 104, 0 below -104, NaN of NaN.
  ROTULUS_INLINE Floats exp(Floats x) {
    x = clamp(x, 104.0f);
    const Floats n = round(mul(x, all(0x1.715476p+0f)));
    Floats r = fma(n, all(-0x1.62e4p-1f), x);
    r = mul(fma(n, all(-0x1.7f7d1cp-20f), r), all(0x1.715476p+0f));
    const Floats half = round(mul(n, all(0.5f)));  // 2^n itself might not be a float
    const Floats fraction = fma(exp2_slope(r), r, all(1.0f));
    return mul(mul(fraction, powers_of_two(half)), powers_of_two(sub(n, half)));
  }

  // tanh x = e / (e + 2) with e = e^2x - 1, exact where x is small because 2^f - 1 is had as a product. NaN of NaN.
  ROTULUS_INLINE Floats tanh(Floats x) {
    const Floats twice = mul(clamp(x, 10.0f), all(0x1.715476p+1f));  // beyond 9.01 the result is 1 in float
    const Floats n = round(twice);
    const Floats r = sub(twice, n);
    const Floats power = powers_of_two(n);
    const Floats e = fma(power, mul(exp2_slope(r), r), sub(power, all(1.0f)));
    return div(e, add(e, all(2.0f)));
  }

  // 2^(x - reference) for x <= reference, an integer of magnitude below 2^17; 2^-126 at the least, NaN of NaN.
  //
  // x = n + r: adding 1.5 * 2^23 rounds to the integer n and leaves n - reference in the mantissa, from where it is
  // added to an exponent.
  class Powers {
   public:
    [[gnu::always_inline]] explicit Powers(float reference)
        : bias_(all(0x1.8p23f - reference)), least_(all(reference - 126.0f)) {}
    [[gnu::always_inline]] Floats operator()(Floats x) const {
      x = max(least_, x);
      const Floats sum = add(x, bias_);
      const Floats r = sub(x, sub(sum, bias_));
      const auto power_of = [](__m256 y) __attribute__((always_inline)) {
        const __m256i one = _mm256_castps_si256(_mm256_set1_ps(1.0f));
        return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_slli_epi32(_mm256_castps_si256(y), 23), one));
      };
      const Floats power{power_of(sum.low), power_of(sum.high)};
      return fma(power, mul(exp2_slope(r), r), power);
    }
    template <std::size_t kCount>
    [[gnu::always_inline]] void operator()(Floats (&x)[kCount]) const {
      for (Floats& of_vector : x) of_vector = (*this)(of_vector);
    }

   private:
    Floats bias_;
    Floats least_;
  };
};

#undef ROTULUS_INLINE

}  // namespace
}  // namespace rotulus::kernels::cpu::avx2
