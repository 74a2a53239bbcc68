// Scales of packed weights, one at a time.
#pragma once

#include "kernels/cpu/half.h"
#include "kernels/cpu/weight_form.h"

namespace rotulus::kernels::cpu::scalar {
namespace {

[[maybe_unused]] float f16_at(const std::byte* from, std::size_t index) {
  std::uint16_t bits;
  __builtin_memcpy(&bits, from + 2 * index, 2);
  return f16_to_float(bits);
}

struct Scale {
  float scale;
  float minimum;  // 0 where the type has none
};

// Of output `o` and the columns of part `part` of block `b`.
[[maybe_unused]] Scale scale_at(const WeightForm& form, const std::byte* group, std::size_t b, std::size_t part,
                                std::size_t o) {
  const std::byte* block = group + form.block_at(b);
  const std::byte* scales = block + form.scale_offset(part);
  const std::byte* minimums = block + form.minimum_offset(part);
  if (form.scale == ScaleKind::f16) return {f16_at(scales, o), form.has_minimum ? f16_at(minimums, o) : 0.0f};
  if (form.scale == ScaleKind::e8m0) {
    return {__builtin_bit_cast(float, e8m0_half_bits(static_cast<std::uint8_t>(scales[o]))), 0.0f};
  }
  const std::byte* header = group + form.header_at(b);
  const float scale = f16_at(header, o) * static_cast<std::int8_t>(scales[o]);
  if (!form.has_minimum) return {scale, 0.0f};
  return {scale, -f16_at(header, kGroupOutputs + o) * static_cast<std::uint8_t>(minimums[o])};
}

}  // namespace
}  // namespace rotulus::kernels::cpu::scalar
