// Single weights by address, as the formats are defined: element i of a block, from the bytes that make it.
#include <cmath>
#include <cstring>

#include "kernels/reference/reference.h"

namespace rotulus::kernels::reference {
namespace {

struct Weight {
  double product;      // scale * value
  double minimum = 0;  // what is added to it
};

unsigned byte(const std::byte* from, std::size_t index) {
  return static_cast<unsigned>(from[index]);
}
int signed_byte(const std::byte* from, std::size_t index) {
  return static_cast<std::int8_t>(from[index]);
}
double f16(const std::byte* from) {
  return decode_f16(static_cast<std::uint16_t>(byte(from, 0) | byte(from, 1) << 8));
}
int bit(const std::byte* from, std::size_t index) {
  return static_cast<int>(byte(from, index / 8) >> index % 8 & 1u);
}
// 4-bit code i of 32 in 16 bytes: the low nibbles first.
int nibble(const std::byte* from, std::size_t i) {
  return static_cast<int>(byte(from, i % 16) >> i / 16 * 4 & 15u);
}
// Field i of `width` bits in runs of 32 bytes, the 32 lowest fields of a run first.
int field(const std::byte* from, std::size_t i, std::size_t width) {
  const std::size_t run = 32 * 8 / width;
  return static_cast<int>(byte(from, i / run * 32 + i % 32) >> i % run / 32 * width & ((1u << width) - 1));
}

constexpr int kIq4Values[] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
// e2m1: sign, two bits of exponent, one of mantissa.
double fp4(int code) {
  const int exponent = code >> 1 & 3;
  const int mantissa = code & 1;
  const double magnitude = exponent == 0 ? 0.5 * mantissa : std::ldexp(1 + 0.5 * mantissa, exponent - 1);
  return code & 8 ? -magnitude : magnitude;
}

// The 6-bit scale j (minimum j, where `minimum`) of Q4_K and Q5_K.
int scale_of_8(const std::byte* s, std::size_t j, bool minimum) {
  const std::size_t low = minimum ? j + 4 : j;
  if (j < 4) return static_cast<int>(byte(s, low) & 63u);
  return static_cast<int>((byte(s, j + 4) >> (minimum ? 4 : 0) & 15u) | byte(s, low - 4) >> 6 << 4);
}

// The 6-bit scale j of Q3_K.
int scale_of_16(const std::byte* s, std::size_t j) {
  return static_cast<int>((byte(s, j % 8) >> j / 8 * 4 & 15u) | (byte(s, 8 + j % 4) >> j / 4 * 2 & 3u) << 4);
}

Weight q4_k_or_q5_k(const std::byte* block, std::size_t i, bool has_fifth) {
  const std::byte* const scales = block + 4;
  int code = field(block + (has_fifth ? 48 : 16), i, 4);
  if (has_fifth) code += 16 * field(block + 16, i, 1);
  return {f16(block) * scale_of_8(scales, i / 32, false) * code, -f16(block + 2) * scale_of_8(scales, i / 32, true)};
}

Weight q6_k(const std::byte* block, std::size_t i) {
  // Of 128 weights, the first 64 are the low nibbles of 64 bytes.
  const unsigned low = byte(block, i / 128 * 64 + i % 64) >> i % 128 / 64 * 4 & 15u;
  const int code = static_cast<int>(low) + 16 * field(block + 128, i, 2);
  return {f16(block + 208) * signed_byte(block + 192, i / 16) * (code - 32)};
}

Weight iq4_xs(const std::byte* block, std::size_t i) {
  const std::size_t j = i / 32;
  const unsigned high = (byte(block, 2) | byte(block, 3) << 8) >> 2 * j & 3u;
  const int scale = static_cast<int>((byte(block, 4 + j / 2) >> j % 2 * 4 & 15u) | high << 4) - 32;
  return {f16(block) * scale * kIq4Values[nibble(block + 8 + 16 * j, i % 32)]};
}

Weight quantized_at(WeightType type, const std::byte* block, std::size_t i) {
  switch (type) {
    case WeightType::q8_0:
      return {f16(block) * signed_byte(block, 2 + i)};
    case WeightType::q4_0:
      return {f16(block) * (nibble(block + 2, i) - 8)};
    case WeightType::q4_1:
      return {f16(block) * nibble(block + 4, i), f16(block + 2)};
    case WeightType::q5_0:
      return {f16(block) * (nibble(block + 6, i) + 16 * bit(block + 2, i) - 16)};
    case WeightType::q5_1:
      return {f16(block) * (nibble(block + 8, i) + 16 * bit(block + 4, i)), f16(block + 2)};
    case WeightType::q2_k: {
      const auto scale = static_cast<int>(byte(block, i / 16));
      return {f16(block + 80) * (scale & 15) * field(block + 16, i, 2), -f16(block + 82) * (scale >> 4)};
    }
    case WeightType::q3_k:
      return {f16(block + 108) * (scale_of_16(block + 96, i / 16) - 32) *
              (field(block + 32, i, 2) + 4 * field(block, i, 1) - 4)};
    case WeightType::q4_k:
      return q4_k_or_q5_k(block, i, false);
    case WeightType::q5_k:
      return q4_k_or_q5_k(block, i, true);
    case WeightType::q6_k:
      return q6_k(block, i);
    case WeightType::iq4_nl:
      return {f16(block) * kIq4Values[nibble(block + 2, i)]};
    case WeightType::iq4_xs:
      return iq4_xs(block, i);
    case WeightType::mxfp4:
      return {std::ldexp(fp4(nibble(block + 1, i)), static_cast<int>(byte(block, 0)) - 127)};
    default:
      return {std::nan("")};
  }
}

Weight weight_at(WeightType type, const std::byte* row, std::size_t column) {
  switch (type) {
    case WeightType::f32: {
      float value;
      std::memcpy(&value, row + 4 * column, sizeof value);
      return {value};
    }
    case WeightType::f16:
      return {f16(row + 2 * column)};
    case WeightType::bf16: {
      const std::uint32_t bits = (byte(row, 2 * column) | byte(row, 2 * column + 1) << 8) << 16;
      float value;
      std::memcpy(&value, &bits, sizeof value);
      return {value};
    }
    default:
      break;
  }
  const std::size_t block = weight_block_columns(type);
  return quantized_at(type, row + column / block * weight_row_bytes(type, block), column % block);
}

template <typename Value>
Table table_of(const WeightSource& weight, const Value& value) {
  Table table(weight.rows, weight.columns);
  const std::size_t row_bytes = weight_row_bytes(weight.type, weight.columns);
  for (std::size_t r = 0; r < weight.rows; ++r) {
    for (std::size_t k = 0; k < weight.columns; ++k) {
      table.row(r)[k] = value(weight_at(weight.type, weight.bytes.data() + r * row_bytes, k));
    }
  }
  return table;
}

}  // namespace

Table dequantize(const WeightSource& weight) {
  return table_of(weight, [](const Weight& w) { return w.product + w.minimum; });
}

Table magnitudes(const WeightSource& weight) {
  return table_of(weight, [](const Weight& w) { return std::abs(w.product) + std::abs(w.minimum); });
}

}  // namespace rotulus::kernels::reference
