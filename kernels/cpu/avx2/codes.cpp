// Products in 8-bit integers (code_kernels.h). The byte product of this row saturates, so bytes become 16-bit integers:
// the even columns of a word and the odd ones, each added in pairs. Rounding and unpacking are the scalar row's.
#include <immintrin.h>

#include "kernels/cpu/code_kernels.h"

namespace rotulus::kernels::cpu {
namespace avx2 {
namespace {

constexpr int kRows = 4;
constexpr std::size_t kLanes = 8;

// Four columns of 8 outputs.
[[gnu::always_inline]] inline __m256i add_dot(__m256i dot, __m256i even, __m256i odd, const std::int8_t* q) {
  std::int32_t bytes;
  __builtin_memcpy(&bytes, q, sizeof bytes);
  const __m256i inputs = _mm256_set1_epi32(bytes);
  const __m256i even_inputs = _mm256_srai_epi16(_mm256_slli_epi16(inputs, 8), 8);
  const __m256i odd_inputs = _mm256_srai_epi16(inputs, 8);
  dot = _mm256_add_epi32(dot, _mm256_madd_epi16(even, even_inputs));
  return _mm256_add_epi32(dot, _mm256_madd_epi16(odd, odd_inputs));
}

// Rows [row, row + count) and 8 outputs from `output` on.
void multiply_tile(const CodeProduct& p, const WeightForm& form, std::size_t row, std::size_t count,
                   std::size_t output) {
  alignas(32) float tile[kRows][kLanes] = {};
  const std::size_t outputs = p.outputs - output < kLanes ? p.outputs - output : kLanes;
  for (std::size_t r = 0; p.extend && r < count; ++r) {
    __builtin_memcpy(tile[r], p.y + (row + r) * p.y_stride + output, outputs * sizeof(float));
  }
  const float* x = p.x + row * p.x_stride;
  const float* panel = p.panel + output;
  for (std::size_t b = 0; b < p.blocks; ++b, x += row_block_floats(form), panel += panel_block_floats(form)) {
    for (std::size_t part = 0; part < form.scales_per_block(); ++part) {
      const float* const offsets = x + kOffsetsAt + part;
      __m256i dots[kRows];
      for (std::size_t r = 0; r < count; ++r) {
        dots[r] =
            form.has_minimum ? _mm256_setzero_si256() : _mm256_castps_si256(_mm256_set1_ps(offsets[r * p.x_stride]));
      }
      for (std::size_t k = part * form.scale_columns; k < (part + 1) * form.scale_columns; k += 4) {
        const __m256i words = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(panel + k / 4 * kCodeOutputs));
        const __m256i even = _mm256_and_si256(words, _mm256_set1_epi16(0xff));
        const __m256i odd = _mm256_srli_epi16(words, 8);
        for (std::size_t r = 0; r < count; ++r) {
          dots[r] = add_dot(dots[r], even, odd, reinterpret_cast<const std::int8_t*>(x + r * p.x_stride) + k);
        }
      }
      const __m256 weight_scale = _mm256_loadu_ps(panel + kPanelScalesAt + part * kCodeOutputs);
      for (std::size_t r = 0; r < count; ++r) {
        const __m256 scale = _mm256_set1_ps(x[r * p.x_stride + kScaleAt]);
        __m256 sum =
            _mm256_fmadd_ps(weight_scale, _mm256_mul_ps(_mm256_cvtepi32_ps(dots[r]), scale), _mm256_load_ps(tile[r]));
        if (form.has_minimum) {
          const __m256 minimum = _mm256_loadu_ps(panel + panel_minimums_at(form) + part * kCodeOutputs);
          sum = _mm256_fmadd_ps(minimum, _mm256_set1_ps(offsets[r * p.x_stride]), sum);
        }
        _mm256_store_ps(tile[r], sum);
      }
    }
  }
  for (std::size_t r = 0; r < count; ++r) {
    __builtin_memcpy(p.y + (row + r) * p.y_stride + output, tile[r], outputs * sizeof(float));
  }
}

void multiply_codes(const CodeProduct& p) {
  const WeightForm form = form_of(p.type, Packing::bytes);
  for (std::size_t row = 0; row < p.rows; row += kRows) {
    const std::size_t count = p.rows - row < kRows ? p.rows - row : kRows;
    for (std::size_t output = 0; output < p.outputs; output += kLanes) multiply_tile(p, form, row, count, output);
  }
}

}  // namespace
}  // namespace avx2

const CodeKernels& avx2_code_kernels() {
  static const CodeKernels kKernels = {.quantize_row = scalar_code_kernels().quantize_row,
                                       .unpack_codes = scalar_code_kernels().unpack_codes,
                                       .multiply_codes = avx2::multiply_codes,
                                       .multiply_few = nullptr};
  return kKernels;
}

}  // namespace rotulus::kernels::cpu
