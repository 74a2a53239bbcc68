// Products in 8-bit integers (code_kernels.h), one value at a time.
#include "kernels/cpu/code_kernels.h"
#include "kernels/cpu/scalar/weight_values.h"

namespace rotulus::kernels::cpu {
namespace scalar {
namespace {

void quantize_row(WeightType type, const float* x, std::size_t columns, float* row) {
  const WeightForm form = form_of(type);
  auto* q = reinterpret_cast<std::int8_t*>(row);
  float* scales = row + scales_at(columns);
  float* offsets = row + offsets_at(columns);
  for (std::size_t k = 0; k < columns; ++k) {
    if (k % kWeightBlock == 0) {
      std::uint32_t largest = 0;
      for (std::size_t i = k; i < k + kWeightBlock; ++i) {
        const std::uint32_t magnitude = __builtin_bit_cast(std::uint32_t, x[i]) & 0x7fffffffu;
        if (magnitude > largest) largest = magnitude;
      }
      const bool is_finite = largest < kInfinityBits;
      const bool is_zero = largest < kTinyBits || !is_finite;
      const float magnitude = __builtin_bit_cast(float, largest);
      const float inverse = is_zero ? 0.0f : kLargestCode / magnitude;
      *scales++ = !is_finite ? __builtin_nanf("") : is_zero ? 0.0f : magnitude / kLargestCode;
      for (std::size_t i = k; i < k + kWeightBlock; ++i) {
        q[i] = is_zero ? 0 : static_cast<std::int8_t>(__builtin_lrintf(x[i] * inverse));
      }
    }
    if (k % form.scale_columns != 0) continue;
    std::int32_t sum = 0;
    for (std::size_t i = k; i < k + form.scale_columns; ++i) sum += q[i];
    *offsets++ =
        form.has_minimum ? static_cast<float>(sum) * scales[-1] : __builtin_bit_cast(float, -code_bias(form) * sum);
  }
}

void unpack_codes(const PackedView& weight, std::size_t first_group, std::size_t first_column, std::size_t depth,
                  float* panel) {
  const WeightForm form = form_of(weight.type, Packing::bytes);
  auto* bytes = reinterpret_cast<std::uint8_t*>(panel);
  float* scales = panel + panel_scales_at(depth);
  float* minimums = panel + panel_minimums_at(form, depth);
  const std::uint32_t mask = (1u << form.bits) - 1;
  for (std::size_t o = 0; o < kCodeOutputs; ++o) {
    const std::size_t lane = o % kGroupOutputs;
    const std::byte* const data = weight.data + (first_group + o / kGroupOutputs) * weight.group_bytes;
    for (std::size_t k = 0; k < depth; ++k) {
      const std::size_t b = (first_column + k) / kWeightBlock;
      const std::size_t column = (first_column + k) % kWeightBlock;
      const std::size_t n = column % form.codes_per_word();
      std::uint32_t word;
      __builtin_memcpy(&word,
                       data + form.block_at(b) + (column / form.codes_per_word() * kGroupOutputs + lane) * sizeof word,
                       sizeof word);
      const std::uint32_t code = word >> (8 * (n % 4) + form.bits * (n / 4)) & mask;
      bytes[(k / 4 * kCodeOutputs + o) * 4 + k % 4] = static_cast<std::uint8_t>(form.value_of(code) + code_bias(form));
      if (k % form.scale_columns != 0) continue;
      const Scale scale = scale_at(form, data, b, column / form.scale_columns, lane);
      scales[k / form.scale_columns * kCodeOutputs + o] = scale.scale;
      if (form.has_minimum) minimums[k / form.scale_columns * kCodeOutputs + o] = scale.minimum;
    }
  }
}

void multiply_codes(const CodeProduct& p) {
  const WeightForm form = form_of(p.type, Packing::bytes);
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(p.panel);
  const float* const weight_scales = p.panel + panel_scales_at(p.depth);
  const float* const minimums = p.panel + panel_minimums_at(form, p.depth);
  for (std::size_t r = 0; r < p.rows; ++r) {
    const float* const row = p.x + r * p.x_stride;
    const auto* q = reinterpret_cast<const std::int8_t*>(row) + p.first_column;
    const float* const scales = row + scales_at(p.columns) + p.first_column / kWeightBlock;
    const float* const offsets = row + offsets_at(p.columns) + p.first_column / form.scale_columns;
    for (std::size_t o = 0; o < p.outputs; ++o) {
      float& y = p.y[r * p.y_stride + o];
      float sum = p.extend ? y : 0.0f;
      for (std::size_t k = 0; k < p.depth; k += form.scale_columns) {
        const std::size_t run = k / form.scale_columns;
        std::int32_t dot = form.has_minimum ? 0 : __builtin_bit_cast(std::int32_t, offsets[run]);
        for (std::size_t i = k; i < k + form.scale_columns; ++i) {
          dot += bytes[(i / 4 * kCodeOutputs + o) * 4 + i % 4] * q[i];
        }
        const float term = static_cast<float>(dot) * scales[k / kWeightBlock];
        sum = __builtin_fmaf(weight_scales[run * kCodeOutputs + o], term, sum);
        if (form.has_minimum) sum = __builtin_fmaf(minimums[run * kCodeOutputs + o], offsets[run], sum);
      }
      y = sum;
    }
  }
}

}  // namespace
}  // namespace scalar

const CodeKernels& scalar_code_kernels() {
  static constexpr CodeKernels kKernels = {.quantize_row = scalar::quantize_row,
                                           .unpack_codes = scalar::unpack_codes,
                                           .multiply_codes = scalar::multiply_codes,
                                           .multiply_few = nullptr};
  return kKernels;
}

}  // namespace rotulus::kernels::cpu
