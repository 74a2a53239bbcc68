// Codes of keys and values in memory (kv_format.h), one at a time.
// Functions are static, not inline: the ISA rows must not emit weak symbols.
#pragma once

#include "kernels/cpu/half.h"
#include "kernels/kv_format.h"

namespace rotulus::kernels::cpu {

constexpr float kInt8Levels = 127;   // codes reach so far on both sides of zero
constexpr float kInt4Levels = 7.5f;  // and so far on both sides of this offset

// Where code `index` of a row lies; of four bits, in the half of the byte that `shift` tells.
struct CodePlace {
  std::size_t byte;
  unsigned shift;
};
[[maybe_unused]] static CodePlace code_place(KvType type, std::size_t index) {
  if (type == KvType::int4) return {index / 16 * 8 + index % 8, static_cast<unsigned>(index % 16 / 8 * 4)};
  return {index * element_bits(type) / 8, 0};
}

// Code `index` of a row as a number, not scaled.
[[maybe_unused]] static float decode_code(KvType type, const std::byte* row, std::size_t index) {
  const CodePlace place = code_place(type, index);
  row += place.byte;
  if (type == KvType::int8) return static_cast<float>(static_cast<std::int8_t>(*row));
  if (type == KvType::int4) return static_cast<float>(static_cast<unsigned>(*row) >> place.shift & 15u) - kInt4Levels;
  if (type == KvType::f32) {
    float value;
    __builtin_memcpy(&value, row, sizeof value);
    return value;
  }
  std::uint16_t bits;
  __builtin_memcpy(&bits, row, sizeof bits);
  return type == KvType::f16 ? f16_to_float(bits) : bf16_to_float(bits);
}

// Scale `index` of a row of scales.
[[maybe_unused]] static float decode_kv_scale(const std::byte* scales, std::size_t index) {
  std::uint16_t bits;
  __builtin_memcpy(&bits, scales + 2 * index, sizeof bits);
  return f16_to_float(bits);
}

}  // namespace rotulus::kernels::cpu
