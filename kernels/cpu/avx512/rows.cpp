// The verbs that treat one row or one head at a time.
#include <immintrin.h>

#include "kernels/cpu/avx512/vector_math.h"
#include "kernels/cpu/row_kernels.h"
#include "kernels/cpu/sincos.h"

namespace rotulus::kernels::cpu::avx512 {
namespace {

// Calls step(i, mask) for vectors of 16 up to count.
template <typename Step>
[[gnu::always_inline]] inline void for_vectors(std::size_t count, const Step& step) {
  for (std::size_t i = 0; i < count; i += 16) step(i, first_lanes(count - i));
}

}  // namespace

void norm(const float* x, const float* weight, float epsilon, std::size_t count, float* y) {
  // Squares are summed in four vectors in turn, then halves upon halves.
  __m512 sums[4] = {_mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps()};
  for (std::size_t i = 0; i < count; i += 64) {
#pragma GCC unroll 4
    for (std::size_t v = 0; v < 4; ++v) {
      if (i + 16 * v >= count) break;
      const __m512 value = _mm512_maskz_loadu_ps(first_lanes(count - i - 16 * v), x + i + 16 * v);
      sums[v] = _mm512_fmadd_ps(value, value, sums[v]);
    }
  }
  const float squares = sum_lanes(_mm512_add_ps(_mm512_add_ps(sums[0], sums[1]), _mm512_add_ps(sums[2], sums[3])));
  const __m512 factor = _mm512_set1_ps(1.0f / __builtin_sqrtf(squares / static_cast<float>(count) + epsilon));
  for_vectors(count, [&](std::size_t i, __mmask16 mask) {
    const __m512 scaled = _mm512_mul_ps(_mm512_maskz_loadu_ps(mask, x + i), factor);
    _mm512_mask_storeu_ps(y + i, mask, _mm512_mul_ps(scaled, _mm512_maskz_loadu_ps(mask, weight + i)));
  });
}

void add(const float* x, std::size_t count, float* into) {
  for_vectors(count, [&](std::size_t i, __mmask16 mask) {
    const __m512 sum = _mm512_add_ps(_mm512_maskz_loadu_ps(mask, into + i), _mm512_maskz_loadu_ps(mask, x + i));
    _mm512_mask_storeu_ps(into + i, mask, sum);
  });
}

void silu_multiply(const float* gate, const float* up, std::size_t count, float* y) {
  for_vectors(count, [&](std::size_t i, __mmask16 mask) {
    const __m512 g = _mm512_maskz_loadu_ps(mask, gate + i);
    const __m512 one = _mm512_set1_ps(1.0f);
    const __m512 silu = _mm512_div_ps(g, _mm512_add_ps(one, exp_any(_mm512_sub_ps(_mm512_setzero_ps(), g))));
    _mm512_mask_storeu_ps(y + i, mask, _mm512_mul_ps(silu, _mm512_maskz_loadu_ps(mask, up + i)));
  });
}

void gelu_multiply(const float* gate, const float* up, std::size_t count, float* y) {
  const __m512 one = _mm512_set1_ps(1.0f);
  const __m512 linear = _mm512_set1_ps(static_cast<float>(-kGelu[0]));
  const __m512 cubic = _mm512_set1_ps(static_cast<float>(-kGelu[1]));
  for_vectors(count, [&](std::size_t i, __mmask16 mask) {
    const __m512 g = _mm512_maskz_loadu_ps(mask, gate + i);
    const __m512 exponent = _mm512_mul_ps(g, _mm512_fmadd_ps(cubic, _mm512_mul_ps(g, g), linear));
    const __m512 gelu = _mm512_div_ps(g, _mm512_add_ps(one, exp_any(exponent)));
    _mm512_mask_storeu_ps(y + i, mask, _mm512_mul_ps(gelu, _mm512_maskz_loadu_ps(mask, up + i)));
  });
}

void soft_cap(float cap, std::size_t count, float* x) {
  const __m512 caps = _mm512_set1_ps(cap);
  for_vectors(count, [&](std::size_t i, __mmask16 mask) {
    const __m512 share = _mm512_div_ps(_mm512_maskz_loadu_ps(mask, x + i), caps);
    _mm512_mask_storeu_ps(x + i, mask, _mm512_mul_ps(caps, tanh_any(share)));
  });
}

// sincos_double of sincos.h, eight angles at once, operation for operation.
void rope_table(double position, const double* inverse_frequencies, std::size_t pairs, float* cosines, float* sines) {
  for (std::size_t j = 0; j < pairs; j += 8) {
    const auto mask = static_cast<__mmask8>(first_lanes(pairs - j));
    const __m512d angle = _mm512_mul_pd(_mm512_set1_pd(position), _mm512_maskz_loadu_pd(mask, inverse_frequencies + j));
    const __m512d turns = _mm512_roundscale_pd(_mm512_mul_pd(angle, _mm512_set1_pd(kTwoOverPi)), kNearest);
    __m512d r = angle;
    for (const double part : kHalfPi) r = _mm512_sub_pd(r, _mm512_mul_pd(turns, _mm512_set1_pd(part)));
    const __m512d square = _mm512_mul_pd(r, r);
    __m512d sine = _mm512_set1_pd(kSine[6]);
    __m512d cosine = _mm512_set1_pd(kCosine[7]);
    for (int i = 5; i >= 0; --i) sine = _mm512_add_pd(_mm512_mul_pd(sine, square), _mm512_set1_pd(kSine[i]));
    for (int i = 6; i >= 0; --i) cosine = _mm512_add_pd(_mm512_mul_pd(cosine, square), _mm512_set1_pd(kCosine[i]));
    sine = _mm512_add_pd(r, _mm512_mul_pd(_mm512_mul_pd(r, square), sine));
    cosine = _mm512_add_pd(_mm512_set1_pd(1.0), _mm512_mul_pd(square, cosine));
    // Quarter turns: odd ones swap the two, the second bit of n (of n + 1) negates the sine (the cosine).
    const __m512i n = _mm512_cvtpd_epi64(turns);
    const __mmask8 swap = _mm512_test_epi64_mask(n, _mm512_set1_epi64(1));
    const __mmask8 negate_sine = _mm512_test_epi64_mask(n, _mm512_set1_epi64(2));
    const __mmask8 negate_cosine =
        _mm512_test_epi64_mask(_mm512_add_epi64(n, _mm512_set1_epi64(1)), _mm512_set1_epi64(2));
    const __m512d zero = _mm512_setzero_pd();
    __m512d turned_sine = _mm512_mask_blend_pd(swap, sine, cosine);
    __m512d turned_cosine = _mm512_mask_blend_pd(swap, cosine, sine);
    turned_sine = _mm512_mask_sub_pd(turned_sine, negate_sine, zero, turned_sine);
    turned_cosine = _mm512_mask_sub_pd(turned_cosine, negate_cosine, zero, turned_cosine);
    _mm256_mask_storeu_ps(cosines + j, mask, _mm512_cvtpd_ps(turned_cosine));
    _mm256_mask_storeu_ps(sines + j, mask, _mm512_cvtpd_ps(turned_sine));
  }
}

namespace {

void rotate_halves(const Rotation& rotation, const float* x, float* y) {
  const std::size_t pairs = rotation.dims / 2;
  const __m512 scale = _mm512_set1_ps(rotation.scale);
  for_vectors(pairs, [&](std::size_t j, __mmask16 mask) {
    const __m512 a = _mm512_maskz_loadu_ps(mask, x + j);
    const __m512 b = _mm512_maskz_loadu_ps(mask, x + pairs + j);
    const __m512 cosine = _mm512_maskz_loadu_ps(mask, rotation.cosines + j);
    const __m512 sine = _mm512_maskz_loadu_ps(mask, rotation.sines + j);
    const __m512 first = _mm512_fmsub_ps(a, cosine, _mm512_mul_ps(b, sine));
    const __m512 second = _mm512_fmadd_ps(b, cosine, _mm512_mul_ps(a, sine));
    _mm512_mask_storeu_ps(y + j, mask, _mm512_mul_ps(first, scale));
    _mm512_mask_storeu_ps(y + pairs + j, mask, _mm512_mul_ps(second, scale));
  });
}

void rotate_neighbours(const Rotation& rotation, const float* x, float* y) {
  const __m512 scale = _mm512_set1_ps(rotation.scale);
  const __m512i twice = _mm512_set_epi32(7, 7, 6, 6, 5, 5, 4, 4, 3, 3, 2, 2, 1, 1, 0, 0);
  for_vectors(rotation.dims, [&](std::size_t i, __mmask16 mask) {
    const auto pair_mask = static_cast<__mmask8>(first_lanes((rotation.dims - i) / 2));
    const __m256 cosines = _mm256_maskz_loadu_ps(pair_mask, rotation.cosines + i / 2);
    const __m256 sines = _mm256_maskz_loadu_ps(pair_mask, rotation.sines + i / 2);
    const __m512 cosine = _mm512_permutexvar_ps(twice, _mm512_castps256_ps512(cosines));
    const __m512 sine = _mm512_permutexvar_ps(twice, _mm512_castps256_ps512(sines));
    const __m512 value = _mm512_maskz_loadu_ps(mask, x + i);
    const __m512 other = _mm512_permute_ps(value, 0xb1);
    // Even lanes a c - b s, odd lanes b c + a s.
    const __m512 turned = _mm512_fmaddsub_ps(value, cosine, _mm512_mul_ps(other, sine));
    _mm512_mask_storeu_ps(y + i, mask, _mm512_mul_ps(turned, scale));
  });
}

}  // namespace

void rotate(const Rotation& rotation, const float* x, float* y) {
  if (rotation.neighbours) {
    rotate_neighbours(rotation, x, y);
  } else {
    rotate_halves(rotation, x, y);
  }
  for (std::size_t i = rotation.dims; i < rotation.head_dim; ++i) y[i] = x[i] * rotation.scale;
}

void encode_f16(const float* x, std::size_t count, std::uint16_t* y) {
  for_vectors(count, [&](std::size_t i, __mmask16 mask) {
    const __m512 value = _mm512_maskz_loadu_ps(mask, x + i);
    _mm256_mask_storeu_epi16(y + i, mask, _mm512_cvtps_ph(value, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  });
}

void scale(const float* x, float factor, std::size_t count, float* y) {
  // + 0: a zero is always positive.
  for_vectors(count, [&](std::size_t i, __mmask16 mask) {
    const __m512 value = _mm512_mul_ps(_mm512_maskz_loadu_ps(mask, x + i), _mm512_set1_ps(factor));
    _mm512_mask_storeu_ps(y + i, mask, _mm512_add_ps(value, _mm512_setzero_ps()));
  });
}

void log_sums(const float* max, const float* sum, std::size_t count, float* lse) {
  const __m256 nothing = _mm256_set1_ps(-__builtin_inff());
  for (std::size_t i = 0; i < count; i += 8) {
    const auto mask = static_cast<__mmask8>(first_lanes(count - i));
    const __m256 base = _mm256_maskz_loadu_ps(mask, max + i);
    const __mmask8 empty = _mm256_cmp_ps_mask(base, nothing, _CMP_EQ_OQ);
    const __m512d log = log_doubles(_mm512_cvtps_pd(_mm256_maskz_loadu_ps(mask, sum + i)));
    const __m512d total = _mm512_fmadd_pd(_mm512_cvtps_pd(base), _mm512_set1_pd(kLn2), log);
    _mm256_mask_storeu_ps(lse + i, mask, _mm256_mask_blend_ps(empty, _mm512_cvtpd_ps(total), nothing));
  }
}

void merge_weights(const float* lse_a, const float* lse_b, std::size_t count, const MergeWeights& into) {
  const __m256 nothing = _mm256_set1_ps(-__builtin_inff());
  const __m256 zero = _mm256_setzero_ps();
  const __m256 one = _mm256_set1_ps(1.0f);
  for (std::size_t i = 0; i < count; i += 8) {
    const auto mask = static_cast<__mmask8>(first_lanes(count - i));
    const __m256 a = _mm256_maskz_loadu_ps(mask, lse_a + i);
    const __m256 b = _mm256_maskz_loadu_ps(mask, lse_b + i);
    const __mmask8 no_a = _mm256_cmp_ps_mask(a, nothing, _CMP_EQ_OQ);
    const __mmask8 no_b = _mm256_cmp_ps_mask(b, nothing, _CMP_EQ_OQ);
    const __m512d max = _mm512_cvtps_pd(_mm256_max_ps(a, b));
    const __m512d weight_a = exp_doubles(_mm512_sub_pd(_mm512_cvtps_pd(a), max));
    const __m512d weight_b = exp_doubles(_mm512_sub_pd(_mm512_cvtps_pd(b), max));
    const __m512d sum = _mm512_add_pd(weight_a, weight_b);  // in [1, 2], or NaN
    const __m256 lse = _mm512_cvtpd_ps(_mm512_add_pd(max, log_doubles(sum)));
    const __m256 part_a = _mm512_cvtpd_ps(_mm512_div_pd(weight_a, sum));
    const __m256 part_b = _mm512_cvtpd_ps(_mm512_div_pd(weight_b, sum));
    // An empty b is looked at last: where both are empty, a stands.
    const auto store = [&](float* to, __m256 merged, __m256 without_a, __m256 without_b) {
      merged = _mm256_mask_blend_ps(no_a, merged, without_a);
      _mm256_mask_storeu_ps(to + i, mask, _mm256_mask_blend_ps(no_b, merged, without_b));
    };
    store(into.a, part_a, zero, one);
    store(into.b, part_b, one, zero);
    store(into.lse, lse, b, a);
  }
}

void blend(const float* a, float a_weight, const float* b, float b_weight, std::size_t count, float* y) {
  for_vectors(count, [&](std::size_t i, __mmask16 mask) {
    const __m512 right = _mm512_mul_ps(_mm512_maskz_loadu_ps(mask, b + i), _mm512_set1_ps(b_weight));
    const __m512 left = _mm512_maskz_loadu_ps(mask, a + i);
    _mm512_mask_storeu_ps(y + i, mask, _mm512_fmadd_ps(left, _mm512_set1_ps(a_weight), right));
  });
}

}  // namespace rotulus::kernels::cpu::avx512
