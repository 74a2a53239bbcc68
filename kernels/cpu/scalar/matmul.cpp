// Dense products, one value at a time: built without vectorization and without contraction, so that every rounding is
// written here. Plain products and sums; no FMA, which old machines would have to call a library for.
#include "kernels/cpu/half.h"
#include "kernels/cpu/scalar/kernels.h"

namespace rotulus::kernels::cpu::scalar {
namespace {

constexpr std::size_t kTile = 8;  // columns that are summed side by side: independent chains hide the latency

float f16_at(const std::byte* from, std::size_t index) {
  std::uint16_t bits;
  __builtin_memcpy(&bits, from + 2 * index, 2);
  return f16_to_float(bits);
}

std::size_t quant_bytes(WeightType type) {
  return (type == WeightType::q8_0 ? 32 : 16) * kGroupOutputs;
}
std::size_t packed_block_bytes(WeightType type) {
  return quant_bytes(type) + (type == WeightType::q4_1 ? 4 : 2) * kGroupOutputs;
}
// The next run of `left` inputs.
std::size_t run_length(std::size_t left) {
  return left < kSumRun ? left : kSumRun;
}
bool is_quantized(WeightType type) {
  return type == WeightType::q8_0 || type == WeightType::q4_0 || type == WeightType::q4_1;
}

// The quants of a block as floats, not scaled.
void unpack_quants(WeightType type, const std::byte* block, float (*quants)[kGroupOutputs]) {
  for (std::size_t k = 0; k < kWeightBlock; ++k) {
    for (std::size_t o = 0; o < kGroupOutputs; ++o) {
      if (type == WeightType::q8_0) {
        quants[k][o] = static_cast<float>(static_cast<std::int8_t>(block[k * kGroupOutputs + o]));
        continue;
      }
      std::uint32_t word;
      __builtin_memcpy(&word, block + ((k / 8) * kGroupOutputs + o) * sizeof word, sizeof word);
      const auto nibble = static_cast<float>(word >> (4 * (k % 8)) & 0xfu);
      quants[k][o] = type == WeightType::q4_0 ? nibble - 8.0f : nibble;
    }
  }
}

float float_at(const PackedView& weight, const std::byte* group, std::size_t index) {
  if (weight.type == WeightType::f16) return f16_at(group, index);
  if (weight.type == WeightType::f32) {
    float value;
    __builtin_memcpy(&value, group + 4 * index, 4);
    return value;
  }
  std::uint16_t bits;
  __builtin_memcpy(&bits, group + 2 * index, 2);
  return bf16_to_float(bits);
}

void decode_quantized(const DecodeProduct& p, std::size_t group) {
  const PackedView& weight = p.weight;
  const std::size_t first = group * kGroupOutputs;
  const std::size_t outputs = weight.rows - first < kGroupOutputs ? weight.rows - first : kGroupOutputs;
  const std::size_t blocks = weight.columns / kWeightBlock;
  for (std::size_t r = 0; r < p.rows; ++r) {
    for (std::size_t o = 0; o < outputs; ++o) p.y[r * p.y_stride + first + o] = 0;
  }
  for (std::size_t b = 0; b < blocks; ++b) {
    const std::byte* block = weight.data + group * weight.group_bytes + b * packed_block_bytes(weight.type);
    float quants[kWeightBlock][kGroupOutputs];
    unpack_quants(weight.type, block, quants);
    const std::byte* scales = block + quant_bytes(weight.type);
    for (std::size_t r = 0; r < p.rows; ++r) {
      const float* x = p.x + r * p.x_stride + b * kWeightBlock;
      for (std::size_t o = 0; o < outputs; ++o) {
        float sum = 0;
        for (std::size_t k = 0; k < kWeightBlock; ++k) sum += quants[k][o] * x[k];
        float term = f16_at(scales, o) * sum;
        if (weight.type == WeightType::q4_1) term += f16_at(scales, kGroupOutputs + o) * p.block_sums[r * blocks + b];
        p.y[r * p.y_stride + first + o] += term;
      }
    }
  }
}

void decode_floats(const DecodeProduct& p, std::size_t group) {
  const PackedView& weight = p.weight;
  const std::byte* data = weight.data + group * weight.group_bytes;
  const std::size_t first = group * kGroupOutputs;
  for (std::size_t r = 0; r < p.rows; ++r) {
    for (std::size_t o = 0; o < kGroupOutputs && first + o < weight.rows; ++o) {
      float sum = 0;
      for (std::size_t begin = 0; begin < weight.columns; begin += kSumRun) {
        float run = 0;
        for (std::size_t k = begin; k < begin + run_length(weight.columns - begin); ++k) {
          run += float_at(weight, data, k * kGroupOutputs + o) * p.x[r * p.x_stride + k];
        }
        sum += run;
      }
      p.y[r * p.y_stride + first + o] = sum;
    }
  }
}

}  // namespace

void unpack_panel(const PackedView& weight, std::size_t first_group, std::size_t groups, std::size_t first_column,
                  std::size_t depth, float* panel) {
  for (std::size_t g = 0; g < groups; ++g) {
    const std::byte* data = weight.data + (first_group + g) * weight.group_bytes;
    float* to = panel + g * kGroupOutputs;
    if (!is_quantized(weight.type)) {
      for (std::size_t k = 0; k < depth; ++k) {
        for (std::size_t o = 0; o < kGroupOutputs; ++o) {
          to[k * kPanelColumns + o] = float_at(weight, data, (first_column + k) * kGroupOutputs + o);
        }
      }
      continue;
    }
    for (std::size_t k = 0; k < depth; k += kWeightBlock) {
      const std::byte* block = data + (first_column + k) / kWeightBlock * packed_block_bytes(weight.type);
      const std::byte* scales = block + quant_bytes(weight.type);
      float quants[kWeightBlock][kGroupOutputs];
      unpack_quants(weight.type, block, quants);
      for (std::size_t i = 0; i < kWeightBlock; ++i) {
        for (std::size_t o = 0; o < kGroupOutputs; ++o) {
          const float minimum = weight.type == WeightType::q4_1 ? f16_at(scales, kGroupOutputs + o) : 0.0f;
          to[(k + i) * kPanelColumns + o] = f16_at(scales, o) * quants[i][o] + minimum;
        }
      }
    }
  }
}

void multiply_panel(const PanelProduct& p) {
  for (std::size_t r = 0; r < p.rows; ++r) {
    const float* x = p.x + r * p.x_stride;
    float* y = p.y + r * p.y_stride;
    for (std::size_t first = 0; first < p.columns; first += kTile) {
      const std::size_t count = p.columns - first < kTile ? p.columns - first : kTile;
      float sums[kTile] = {};
      for (std::size_t c = 0; p.accumulate && c < count; ++c) sums[c] = y[first + c];
      for (std::size_t begin = 0; begin < p.depth; begin += kSumRun) {
        float run[kTile] = {};
        for (std::size_t k = begin; k < begin + run_length(p.depth - begin); ++k) {
          const float* panel = p.panel + k * kPanelColumns + first;
          for (std::size_t c = 0; c < kTile; ++c) run[c] += x[k] * panel[c];
        }
        for (std::size_t c = 0; c < kTile; ++c) sums[c] += run[c];
      }
      for (std::size_t c = 0; c < count; ++c) y[first + c] = sums[c];
    }
  }
}

void sum_blocks(const float* x, std::size_t blocks, float* sums) {
  for (std::size_t b = 0; b < blocks; ++b) {
    float sum = 0;
    for (std::size_t k = 0; k < kWeightBlock; ++k) sum += x[b * kWeightBlock + k];
    sums[b] = sum;
  }
}

void decode(const DecodeProduct& p) {
  for (std::size_t group = p.first_group; group < p.first_group + p.groups; ++group) {
    if (is_quantized(p.weight.type)) {
      decode_quantized(p, group);
    } else {
      decode_floats(p, group);
    }
  }
}

}  // namespace rotulus::kernels::cpu::scalar
