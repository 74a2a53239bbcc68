// Products in 8-bit integers (code_kernels.h), one value at a time.
#include "kernels/cpu/code_kernels.h"
#include "kernels/cpu/scalar/weight_values.h"

namespace rotulus::kernels::cpu {
namespace scalar {
namespace {

// 32 inputs; the scale.
float round_block(const float* x, std::int8_t* q) {
  std::uint32_t largest = 0;
  for (std::size_t k = 0; k < kWeightBlock; ++k) {
    const std::uint32_t magnitude = __builtin_bit_cast(std::uint32_t, x[k]) & 0x7fffffffu;
    if (magnitude > largest) largest = magnitude;
  }
  const bool is_finite = largest < kInfinityBits;
  const bool is_zero = largest < kTinyBits || !is_finite;
  const float magnitude = __builtin_bit_cast(float, largest);
  const float inverse = is_zero ? 0.0f : kLargestCode / magnitude;
  for (std::size_t k = 0; k < kWeightBlock; ++k) {
    q[k] = is_zero ? 0 : static_cast<std::int8_t>(__builtin_lrintf(x[k] * inverse));
  }
  return !is_finite ? __builtin_nanf("") : is_zero ? 0.0f : magnitude / kLargestCode;
}

void quantize_row(WeightType type, const float* x, std::size_t columns, float* row) {
  const WeightForm form = form_of(type);
  for (std::size_t k = 0; k < columns; k += kWeightBlock, row += row_block_floats(form)) {
    auto* q = reinterpret_cast<std::int8_t*>(row);
    const float scale = row[kScaleAt] = round_block(x + k, q);
    for (std::size_t part = 0; part < form.scales_per_block(); ++part) {
      std::int32_t sum = 0;
      for (std::size_t i = 0; i < form.scale_columns; ++i) sum += *q++;
      const float offset =
          form.has_minimum ? static_cast<float>(sum) * scale : __builtin_bit_cast(float, -code_bias(form) * sum);
      row[kOffsetsAt + part] = offset;
    }
  }
}

// One block and one output.
void unpack_block(const WeightForm& form, const std::byte* group, std::size_t b, std::size_t lane, std::size_t output,
                  float* panel) {
  auto* bytes = reinterpret_cast<std::uint8_t*>(panel);
  const std::size_t per_word = form.codes_per_word();
  for (std::size_t k = 0; k < kWeightBlock; ++k) {
    std::uint32_t word;
    __builtin_memcpy(&word, group + form.block_at(b) + (k / per_word * kGroupOutputs + lane) * sizeof word,
                     sizeof word);
    const std::size_t n = k % per_word;
    const std::uint32_t code = word >> (8 * (n % 4) + form.bits * (n / 4)) & ((1u << form.bits) - 1);
    bytes[(k / 4 * kCodeOutputs + output) * 4 + k % 4] =
        static_cast<std::uint8_t>(form.value_of(code) + code_bias(form));
  }
  for (std::size_t part = 0; part < form.scales_per_block(); ++part) {
    const Scale scale = scale_at(form, group, b, part, lane);
    panel[kPanelScalesAt + part * kCodeOutputs + output] = scale.scale;
    if (form.has_minimum) panel[panel_minimums_at(form) + part * kCodeOutputs + output] = scale.minimum;
  }
}

void unpack_codes(const PackedView& weight, std::size_t first_group, std::size_t first_block, std::size_t blocks,
                  float* panel) {
  const WeightForm form = form_of(weight.type, Packing::bytes);
  for (std::size_t b = first_block; b < first_block + blocks; ++b, panel += panel_block_floats(form)) {
    for (std::size_t o = 0; o < kCodeOutputs; ++o) {
      const std::byte* const group = weight.data + (first_group + o / kGroupOutputs) * weight.group_bytes;
      unpack_block(form, group, b, o % kGroupOutputs, o, panel);
    }
  }
}

// One block of one row and one output onto its chain.
float add_block(const WeightForm& form, const float* row, const float* panel, std::size_t output, float sum) {
  const auto* q = reinterpret_cast<const std::int8_t*>(row);
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(panel);
  for (std::size_t part = 0; part < form.scales_per_block(); ++part) {
    const float offset = row[kOffsetsAt + part];
    std::int32_t dot = form.has_minimum ? 0 : __builtin_bit_cast(std::int32_t, offset);
    for (std::size_t k = part * form.scale_columns; k < (part + 1) * form.scale_columns; ++k) {
      dot += bytes[(k / 4 * kCodeOutputs + output) * 4 + k % 4] * q[k];
    }
    const float term = static_cast<float>(dot) * row[kScaleAt];
    sum = __builtin_fmaf(panel[kPanelScalesAt + part * kCodeOutputs + output], term, sum);
    if (!form.has_minimum) continue;
    sum = __builtin_fmaf(panel[panel_minimums_at(form) + part * kCodeOutputs + output], offset, sum);
  }
  return sum;
}

void multiply_codes(const CodeProduct& p) {
  const WeightForm form = form_of(p.type, Packing::bytes);
  for (std::size_t r = 0; r < p.rows; ++r) {
    for (std::size_t o = 0; o < p.outputs; ++o) {
      float& y = p.y[r * p.y_stride + o];
      float sum = p.extend ? y : 0.0f;
      for (std::size_t b = 0; b < p.blocks; ++b) {
        sum = add_block(form, p.x + r * p.x_stride + b * row_block_floats(form), p.panel + b * panel_block_floats(form),
                        o, sum);
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
