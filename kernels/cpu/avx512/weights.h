// Weights in registers: 16 outputs in the lanes of a vector, codes turned into floats.
#pragma once

#include <immintrin.h>

#include "kernels/cpu/kernel_table.h"

namespace rotulus::kernels::cpu::avx512 {
namespace {

// One column of 16 outputs of a weight that is not quantized.
template <WeightType kType>
[[gnu::always_inline]] inline __m512 load_column(const std::byte* group, std::size_t column) {
  const std::byte* at = group + column * kGroupOutputs * (kType == WeightType::f32 ? 4 : 2);
  if constexpr (kType == WeightType::f32) return _mm512_loadu_ps(at);
  const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at));
  if constexpr (kType == WeightType::f16) return _mm512_cvtph_ps(bits);
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
}

[[gnu::always_inline]] inline __m512 load_halves(const std::byte* at) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(at)));
}

// A code at bits [p, p + bits) of a word becomes the float value * 2^p where it lies: masked and converted, without a
// shift, less the zero. The p of a column; codes of a codebook are shifted down, because a permutation reads its index
// from the lowest bits.
constexpr std::size_t shift_of(const WeightForm& form, std::size_t column) {
  if (form.codebook != nullptr) return 0;
  const std::size_t in_words = form.codes_per_word() * form.bits;  // columns; the others come from spare bits
  return (column < in_words ? column % form.codes_per_word() : column - in_words) * form.bits;
}
constexpr float factor_of(const WeightForm& form, std::size_t column) {
  return 1.0f / static_cast<float>(1u << shift_of(form, column));
}

template <WeightType kType>
class Codes {
 public:
  Codes() {
    if constexpr (kForm.codebook != nullptr) {
      const auto* bytes = reinterpret_cast<const __m128i*>(kForm.codebook);
      book_ = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(bytes)));
    }
  }

  [[gnu::always_inline]] __m512 value(__m512i words, std::size_t shift) const {
    if constexpr (kForm.codebook != nullptr) return _mm512_permutexvar_ps(words, book_);
    const std::uint32_t mask = ((1u << kForm.bits) - 1) << shift;
    const __m512i code = _mm512_and_si512(words, _mm512_set1_epi32(static_cast<int>(mask)));
    const __m512 value = mask >> 31 != 0 ? _mm512_cvtepu32_ps(code) : _mm512_cvtepi32_ps(code);
    if constexpr (kForm.zero == 0) return value;
    return _mm512_sub_ps(value, _mm512_set1_ps(static_cast<float>(kForm.zero << shift)));
  }

 private:
  static constexpr WeightForm kForm = form_of(kType);
  __m512 book_;
};

// Calls step(column, values) for the 32 columns of kGroups packed blocks, values [kGroups] of weights, not scaled,
// times 2^shift_of(column).
template <WeightType kType, int kGroups, typename Step>
[[gnu::always_inline]] inline void for_columns(const Codes<kType>& codes, const std::byte* const (&blocks)[kGroups],
                                               const Step& step) {
  constexpr WeightForm kForm = form_of(kType);
  constexpr std::size_t kPerWord = kForm.codes_per_word();
  __m512i last_two[kGroups];
  __m512 values[kGroups];
#pragma GCC unroll 4
  for (int g = 0; g < kGroups; ++g) last_two[g] = _mm512_setzero_si512();
#pragma GCC unroll 8
  for (std::size_t v = 0; v < kForm.bits; ++v) {
    __m512i words[kGroups];
#pragma GCC unroll 4
    for (int g = 0; g < kGroups; ++g) {
      words[g] = _mm512_loadu_si512(blocks[g] + v * 64);
      if constexpr (32 % kForm.bits != 0) {
        constexpr int kOrAnd = 0xf8;  // last_two | (words & mask)
        last_two[g] = _mm512_ternarylogic_epi32(last_two[g], _mm512_srli_epi32(words[g], 30 - 2 * v),
                                                _mm512_set1_epi32(3 << 2 * v), kOrAnd);
      }
    }
#pragma GCC unroll 16
    for (std::size_t n = 0; n < kPerWord; ++n) {
#pragma GCC unroll 4
      for (int g = 0; g < kGroups; ++g) {
        values[g] = codes.value(words[g], shift_of(kForm, n));
        if (kForm.codebook != nullptr) words[g] = _mm512_srli_epi32(words[g], kForm.bits);
      }
      step(v * kPerWord + n, values);
    }
  }
#pragma GCC unroll 2
  for (std::size_t k = kPerWord * kForm.bits; k < kWeightBlock; ++k) {
#pragma GCC unroll 4
    for (int g = 0; g < kGroups; ++g) values[g] = codes.value(last_two[g], shift_of(kForm, k));
    step(k, values);
  }
}

// The scales of part `part` of a block, and its minimums.
template <WeightType kType, Packing kPacking = Packing::words>
[[gnu::always_inline]] inline __m512 scales_of(const std::byte* header, const std::byte* block, std::size_t part) {
  constexpr WeightForm kForm = form_of(kType, kPacking);
  const std::byte* const at = block + kForm.scale_offset(part);
  if constexpr (kForm.scale == ScaleKind::f16) return load_halves(at);
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(at));
  if constexpr (kForm.scale == ScaleKind::integer) {
    return _mm512_mul_ps(load_halves(header), _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes)));
  }
  const __m512i exponents = _mm512_cvtepu8_epi32(bytes);
  const __m512i normal = _mm512_slli_epi32(_mm512_sub_epi32(exponents, _mm512_set1_epi32(1)), 23);
  const __m512i subnormal = _mm512_sllv_epi32(_mm512_set1_epi32(0x00200000), exponents);
  const __mmask16 is_normal = _mm512_cmpgt_epi32_mask(exponents, _mm512_set1_epi32(1));
  return _mm512_castsi512_ps(_mm512_mask_blend_epi32(is_normal, subnormal, normal));
}

template <WeightType kType, Packing kPacking = Packing::words>
[[gnu::always_inline]] inline __m512 minimums_of(const std::byte* header, const std::byte* block, std::size_t part) {
  constexpr WeightForm kForm = form_of(kType, kPacking);
  const std::byte* const at = block + kForm.minimum_offset(part);
  if constexpr (kForm.scale == ScaleKind::f16) return load_halves(at);
  const __m512i integers = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(at)));
  const __m512 steps = load_halves(header + 2 * kGroupOutputs);
  return _mm512_mul_ps(_mm512_sub_ps(_mm512_setzero_ps(), steps), _mm512_cvtepi32_ps(integers));
}

// Runs Kernel<type>.
template <template <WeightType> typename Kernel, typename... Arguments>
[[gnu::always_inline]] inline void for_type(WeightType type, const Arguments&... arguments) {
  switch (type) {
    case WeightType::f32:
      return Kernel<WeightType::f32>::run(arguments...);
    case WeightType::f16:
      return Kernel<WeightType::f16>::run(arguments...);
    case WeightType::bf16:
      return Kernel<WeightType::bf16>::run(arguments...);
    case WeightType::q8_0:
      return Kernel<WeightType::q8_0>::run(arguments...);
    case WeightType::q4_0:
      return Kernel<WeightType::q4_0>::run(arguments...);
    case WeightType::q4_1:
      return Kernel<WeightType::q4_1>::run(arguments...);
    case WeightType::q5_0:
      return Kernel<WeightType::q5_0>::run(arguments...);
    case WeightType::q5_1:
      return Kernel<WeightType::q5_1>::run(arguments...);
    case WeightType::q2_k:
      return Kernel<WeightType::q2_k>::run(arguments...);
    case WeightType::q3_k:
      return Kernel<WeightType::q3_k>::run(arguments...);
    case WeightType::q4_k:
      return Kernel<WeightType::q4_k>::run(arguments...);
    case WeightType::q5_k:
      return Kernel<WeightType::q5_k>::run(arguments...);
    case WeightType::q6_k:
      return Kernel<WeightType::q6_k>::run(arguments...);
    case WeightType::iq4_nl:
      return Kernel<WeightType::iq4_nl>::run(arguments...);
    case WeightType::iq4_xs:
      return Kernel<WeightType::iq4_xs>::run(arguments...);
    case WeightType::mxfp4:
      return Kernel<WeightType::mxfp4>::run(arguments...);
  }
}

}  // namespace
}  // namespace rotulus::kernels::cpu::avx512
