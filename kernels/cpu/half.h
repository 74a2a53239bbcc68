// f16 and bf16 as integers, for code that runs on any CPU. Bit for bit what F16C does, subnormals and NaN included.
// Functions are static, not inline: the ISA rows must not emit weak symbols.
#pragma once

#include <cstdint>

namespace rotulus::kernels::cpu {

[[maybe_unused]] static float bf16_to_float(std::uint16_t bits) {
  return __builtin_bit_cast(float, static_cast<std::uint32_t>(bits) << 16);
}

[[maybe_unused]] static float f16_to_float(std::uint16_t bits) {
  const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x8000u) << 16;
  const std::uint32_t exponent = (bits >> 10) & 0x1fu;
  std::uint32_t mantissa = bits & 0x3ffu;
  if (exponent == 0x1f) {
    if (mantissa != 0) mantissa |= 0x200u;  // a signalling NaN becomes quiet
    return __builtin_bit_cast(float, sign | 0x7f800000u | mantissa << 13);
  }
  if (exponent == 0) {
    // A subnormal is mantissa * 2^-24, exact in float.
    const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
    return __builtin_bit_cast(float, sign | __builtin_bit_cast(std::uint32_t, magnitude));
  }
  return __builtin_bit_cast(float, sign | (exponent + 112) << 23 | mantissa << 13);
}

// Rounds to nearest, ties to even; what is too large becomes infinite.
[[maybe_unused]] static std::uint16_t float_to_f16(float value) {
  const std::uint32_t bits = __builtin_bit_cast(std::uint32_t, value);
  const std::uint32_t sign = bits >> 16 & 0x8000u;
  const std::uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return static_cast<std::uint16_t>(sign | 0x7e00u | (magnitude >> 13 & 0x3ffu));
  if (magnitude >= 0x477ff000u) return static_cast<std::uint16_t>(sign | 0x7c00u);  // >= 65520
  if (magnitude < 0x38800000u) {                                                    // < 2^-14: subnormal or zero
    // Adding 0.5 leaves units of 2^-24 in the last bits; the float addition does the rounding.
    const float shifted = __builtin_bit_cast(float, magnitude) + 0.5f;
    return static_cast<std::uint16_t>(sign | (__builtin_bit_cast(std::uint32_t, shifted) - 0x3f000000u));
  }
  const std::uint32_t rounded = magnitude + 0xfffu + (magnitude >> 13 & 1u);
  return static_cast<std::uint16_t>(sign | ((rounded - 0x38000000u) >> 13));
}

// The least that is not below the value, and the greatest that is not above it.
[[maybe_unused]] static std::uint16_t f16_above(float value) {
  const std::uint16_t nearest = float_to_f16(value);
  if (!(f16_to_float(nearest) < value)) return nearest;
  if (nearest == 0x8000u) return 1;
  return static_cast<std::uint16_t>((nearest & 0x8000u) != 0 ? nearest - 1 : nearest + 1);
}
[[maybe_unused]] static std::uint16_t f16_below(float value) {
  return f16_above(-value) ^ 0x8000u;
}

}  // namespace rotulus::kernels::cpu
