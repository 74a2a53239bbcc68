// Sixteen floats in one register, as kernels/cpu/wide wants them of a row.
#pragma once

#include "kernels/cpu/avx512/vector_math.h"
#include "kernels/cpu/kv_codes.h"
#include "kernels/cpu/wide/all_lanes.h"

namespace rotulus::kernels::cpu::avx512 {
namespace {

#define ROTULUS_INLINE [[gnu::always_inline]] static inline

struct Simd {
  using Floats = __m512;
  using Lanes = __mmask16;
  static constexpr std::size_t kTileVectors = 4;  // 6 x 4 accumulators, four of B and one of A: 29 of 32 registers

  ROTULUS_INLINE Floats zero() { return _mm512_setzero_ps(); }
  ROTULUS_INLINE Floats all(float x) { return _mm512_set1_ps(x); }
  ROTULUS_INLINE Floats load(const float* from) { return _mm512_loadu_ps(from); }
  ROTULUS_INLINE void store(float* to, Floats x) { _mm512_storeu_ps(to, x); }
  ROTULUS_INLINE Floats load_all(const float* from) { return avx512::load_all(from); }

  ROTULUS_INLINE Floats add(Floats a, Floats b) { return _mm512_add_ps(a, b); }
  ROTULUS_INLINE Floats sub(Floats a, Floats b) { return _mm512_sub_ps(a, b); }
  ROTULUS_INLINE Floats mul(Floats a, Floats b) { return _mm512_mul_ps(a, b); }
  ROTULUS_INLINE Floats fma(Floats a, Floats b, Floats c) { return _mm512_fmadd_ps(a, b, c); }
  ROTULUS_INLINE Floats max(Floats a, Floats b) { return _mm512_max_ps(a, b); }
  ROTULUS_INLINE Floats tanh(Floats x) { return tanh_any(x); }
  ROTULUS_INLINE float sum(Floats x) { return sum_lanes(x); }
  ROTULUS_INLINE float largest(Floats x) { return max_lanes(x); }

  // Lanes [begin, end).
  ROTULUS_INLINE Lanes lanes(std::size_t begin, std::size_t end) {
    return static_cast<Lanes>(first_lanes(end) & ~first_lanes(begin));
  }
  // a in the lanes given, b in the others.
  ROTULUS_INLINE Floats select(Lanes lanes, Floats a, Floats b) { return _mm512_mask_blend_ps(lanes, b, a); }
  ROTULUS_INLINE Floats select(AllLanes, Floats a, Floats) { return a; }

  // Sixteen neighbouring codes of keys or values.
  template <KvType kType>
  ROTULUS_INLINE Floats load_codes(const std::byte* from) {
    if constexpr (kType == KvType::f32) return _mm512_loadu_ps(from);
    if constexpr (kType == KvType::f16)
      return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
    if constexpr (kType == KvType::bf16) {
      const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
      return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
    }
    if constexpr (kType == KvType::int8) {
      return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from))));
    }
    if constexpr (kType == KvType::int4) {
      return transpose(load_transposed<kType>(from));
    }
  }

  // Whether the inner loop loads these codes as a matrix of 4 x 4, transposed, which spares it a shuffle.
  template <KvType kType>
  static constexpr bool kLoadsTransposed = kType == KvType::int4;
  ROTULUS_INLINE Floats transpose(Floats x) {
    return _mm512_permutexvar_ps(_mm512_set_epi32(15, 11, 7, 3, 14, 10, 6, 2, 13, 9, 5, 1, 12, 8, 4, 0), x);
  }
  // Eight bytes are two words. Half h of byte b of word w, neighbour 8 h + 4 w + b, comes to lane 4 b + 2 h + w; the
  // table looks at the four lowest bits only. Of these instructions none wants a port that FMAs want too.
  template <KvType kType>
  ROTULUS_INLINE Floats load_transposed(const std::byte* from) {
    static_assert(kType == KvType::int4);
    const __m512i shifts = _mm512_set_epi32(28, 28, 24, 24, 20, 20, 16, 16, 12, 12, 8, 8, 4, 4, 0, 0);
    const Floats numbers =
        _mm512_sub_ps(_mm512_set_ps(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0), all(kInt4Levels));
    std::int64_t bytes;
    __builtin_memcpy(&bytes, from, sizeof bytes);
    return _mm512_permutexvar_ps(_mm512_srlv_epi32(_mm512_set1_epi64(bytes), shifts), numbers);
  }

  // 2^n for an integer n in [-126, 0].
  ROTULUS_INLINE float power_of_two(float n) {
    return __builtin_bit_cast(float, (static_cast<std::int32_t>(n) + 127) << 23);
  }

  // 2^(x - reference) for x <= reference, an integer of magnitude below 2^17; 2^-126 at the least, NaN of NaN.
  //
  // x = n + r with n a multiple of 1/16: adding 1.5 * 2^19 rounds to one and leaves n - reference in the mantissa,
  // whose four lowest bits choose 2^(j/16) from a table, and the others are added to its exponent.
  class Powers {
   public:
    [[gnu::always_inline]] explicit Powers(float reference)
        : bias_(all(0x1.8p19f - reference)), least_(all(reference - 126.0f)) {}
    [[gnu::always_inline]] Floats operator()(Floats x) const {
      Floats one[1] = {x};
      (*this)(one);
      return one[0];
    }
    // Several at once, step by step: the scheduler of a core holds too few steps of one to find the next.
    template <std::size_t kCount>
    [[gnu::always_inline]] void operator()(Floats (&x)[kCount]) const {
      // 2^(j/16) less j at the place to which the shift below brings it.
      const __m512i table =
          _mm512_sub_epi32(_mm512_castps_si512(_mm512_set_ps(
                               0x1.ea4afap+0f, 0x1.d5818ep+0f, 0x1.c199bep+0f, 0x1.ae89fap+0f, 0x1.9c4918p+0f,
                               0x1.8ace54p+0f, 0x1.7a1148p+0f, 0x1.6a09e6p+0f, 0x1.5ab07ep+0f, 0x1.4bfdaep+0f,
                               0x1.3dea64p+0f, 0x1.306fe0p+0f, 0x1.2387a6p+0f, 0x1.172b84p+0f, 0x1.0b5586p+0f, 1.0f)),
                           _mm512_set_epi32(15 << 19, 14 << 19, 13 << 19, 12 << 19, 11 << 19, 10 << 19, 9 << 19,
                                            8 << 19, 7 << 19, 6 << 19, 5 << 19, 4 << 19, 3 << 19, 2 << 19, 1 << 19, 0));
      __m512 power[kCount];
      __m512 slope[kCount];
#pragma GCC unroll 4
      for (std::size_t i = 0; i < kCount; ++i) {
        x[i] = _mm512_max_ps(least_, x[i]);  // the second operand is returned where one is NaN
        power[i] = _mm512_add_ps(x[i], bias_);
      }
#pragma GCC unroll 4
      for (std::size_t i = 0; i < kCount; ++i) {
        x[i] = _mm512_sub_ps(x[i], _mm512_sub_ps(power[i], bias_));
        const __m512i bits = _mm512_castps_si512(power[i]);
        const __m512i fraction = _mm512_permutexvar_epi32(bits, table);
        power[i] = _mm512_castsi512_ps(_mm512_add_epi32(fraction, _mm512_slli_epi32(bits, 19)));
      }
      // slope = (2^r - 1) / r for |r| <= 1/32: a minimax fit, 2e-9 of the result.
#pragma GCC unroll 4
      for (std::size_t i = 0; i < kCount; ++i) {
        slope[i] = _mm512_fmadd_ps(_mm512_set1_ps(0x1.c6ac6ap-5f), x[i], _mm512_set1_ps(0x1.ebfff4p-3f));
      }
#pragma GCC unroll 4
      for (std::size_t i = 0; i < kCount; ++i) {
        slope[i] = _mm512_fmadd_ps(slope[i], x[i], _mm512_set1_ps(0x1.62e43p-1f));
      }
#pragma GCC unroll 4
      for (std::size_t i = 0; i < kCount; ++i) slope[i] = _mm512_mul_ps(slope[i], x[i]);
#pragma GCC unroll 4
      for (std::size_t i = 0; i < kCount; ++i) x[i] = _mm512_fmadd_ps(power[i], slope[i], power[i]);
    }

   private:
    Floats bias_;
    Floats least_;
  };
};

#undef ROTULUS_INLINE

}  // namespace
}  // namespace rotulus::kernels::cpu::avx512
