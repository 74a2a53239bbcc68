#include "kernels/cpu/packed_weight.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/check.h"
#include "kernels/cpu/half.h"

namespace rotulus::kernels::cpu {
namespace {

// Bytes of one block of 32 weights in the file: f16 scale, for Q4_1 f16 minimum, then the quants. In a byte of a
// 4-bit type, the low nibble is weight i, the high one weight i + 16.
std::size_t block_bytes(WeightType type) {
  return weight_row_bytes(type, kWeightBlock);
}
std::size_t header_bytes(WeightType type) {
  return type == WeightType::q4_1 ? 4 : 2;
}

bool is_quantized(WeightType type) {
  return type == WeightType::q8_0 || type == WeightType::q4_0 || type == WeightType::q4_1;
}

template <typename T>
T load(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

std::uint32_t nibble(const std::byte* quants, std::size_t index) {
  const auto byte = static_cast<std::uint32_t>(quants[index % 16]);
  return index < 16 ? byte & 0xfu : byte >> 4;
}

// The PackedView's form of 32 columns of up to 16 outputs. rows[o] points at the block of output o.
void pack_block(WeightType type, const std::byte* const* rows, std::size_t row_count, std::byte* packed) {
  const std::size_t header = header_bytes(type);
  const std::size_t quant_bytes = (type == WeightType::q8_0 ? 32 : 16) * kGroupOutputs;
  for (std::size_t o = 0; o < row_count; ++o) {
    const std::byte* quants = rows[o] + header;
    if (type == WeightType::q8_0) {
      for (std::size_t k = 0; k < kWeightBlock; ++k) packed[k * kGroupOutputs + o] = quants[k];
    } else {
      for (std::size_t v = 0; v < 4; ++v) {
        std::uint32_t word = 0;
        for (std::size_t n = 0; n < 8; ++n) word |= nibble(quants, 8 * v + n) << (4 * n);
        std::memcpy(packed + (v * kGroupOutputs + o) * sizeof word, &word, sizeof word);
      }
    }
    std::memcpy(packed + quant_bytes + 2 * o, rows[o], 2);
    if (type == WeightType::q4_1) std::memcpy(packed + quant_bytes + 2 * kGroupOutputs + 2 * o, rows[o] + 2, 2);
  }
}

void pack_group(const WeightSource& source, std::size_t group, std::byte* packed) {
  const std::size_t row_bytes = weight_row_bytes(source.type, source.columns);
  const std::size_t first = group * kGroupOutputs;
  const std::size_t count = std::min(kGroupOutputs, source.rows - first);
  const std::byte* base = source.bytes.data() + first * row_bytes;
  const std::size_t step = is_quantized(source.type)        ? block_bytes(source.type)
                           : source.type == WeightType::f32 ? 4
                                                            : 2;
  for (std::size_t i = 0; i < row_bytes / step; ++i) {
    std::byte* to = packed + i * step * kGroupOutputs;
    const std::byte* rows[kGroupOutputs];
    for (std::size_t o = 0; o < count; ++o) rows[o] = base + o * row_bytes + i * step;
    if (is_quantized(source.type)) {
      pack_block(source.type, rows, count, to);
    } else {
      for (std::size_t o = 0; o < count; ++o) std::memcpy(to + o * step, rows[o], step);
    }
  }
}

std::size_t group_bytes(const WeightSource& source) {
  return weight_row_bytes(source.type, source.columns) * kGroupOutputs;
}

std::size_t group_count(const WeightSource& source) {
  return (source.rows + kGroupOutputs - 1) / kGroupOutputs;
}

void dequantize_block(WeightType type, const std::byte* block, float* y) {
  const float scale = f16_to_float(load<std::uint16_t>(block));
  const float minimum = type == WeightType::q4_1 ? f16_to_float(load<std::uint16_t>(block + 2)) : 0.0f;
  const std::byte* quants = block + header_bytes(type);
  for (std::size_t k = 0; k < kWeightBlock; ++k) {
    float quant = 0;
    if (type == WeightType::q8_0) quant = static_cast<float>(load<std::int8_t>(quants + k));
    if (type == WeightType::q4_0) quant = static_cast<float>(nibble(quants, k)) - 8.0f;
    if (type == WeightType::q4_1) quant = static_cast<float>(nibble(quants, k));
    y[k] = type == WeightType::q4_1 ? std::fma(scale, quant, minimum) : scale * quant;
  }
}

}  // namespace

CpuPackedWeight::CpuPackedWeight(const WeightSource& source, ThreadPool& pool)
    : buffer_(group_count(source) * group_bytes(source)),
      view_{source.type, source.rows, source.columns, group_bytes(source), buffer_.data()} {
  KERNELS_CHECK(source.bytes.size() == source.rows * weight_row_bytes(source.type, source.columns), source.bytes.size(),
                source.rows, source.columns);
  pool.parallel_for(group_count(source), [&](std::size_t group, std::size_t) {
    pack_group(source, group, buffer_.data() + group * view_.group_bytes);
  });
}

void dequantize_row(WeightType type, const std::byte* row, std::size_t columns, float* y) {
  if (type == WeightType::f32) {
    std::memcpy(y, row, columns * sizeof(float));
  } else if (type == WeightType::f16) {
    for (std::size_t k = 0; k < columns; ++k) y[k] = f16_to_float(load<std::uint16_t>(row + 2 * k));
  } else if (type == WeightType::bf16) {
    for (std::size_t k = 0; k < columns; ++k) y[k] = bf16_to_float(load<std::uint16_t>(row + 2 * k));
  } else {
    const std::size_t step = block_bytes(type);
    for (std::size_t b = 0; b < columns / kWeightBlock; ++b)
      dequantize_block(type, row + b * step, y + b * kWeightBlock);
  }
}

}  // namespace rotulus::kernels::cpu
