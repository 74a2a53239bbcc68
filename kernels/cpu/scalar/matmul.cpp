// Dense products, one value at a time: built without vectorization and without contraction, so that every rounding is
// written here. Plain products and sums; no FMA, which old machines would have to call a library for.
#include "kernels/cpu/row_kernels.h"
#include "kernels/cpu/scalar/weight_values.h"

namespace rotulus::kernels::cpu::scalar {
namespace {

constexpr std::size_t kTile = 8;  // columns that are summed side by side: independent chains hide the latency

// The next run of `left` inputs.
std::size_t run_length(std::size_t left) {
  return left < kSumRun ? left : kSumRun;
}

// The codes of a block as values, not scaled.
void unpack_values(WeightType type, const std::byte* block, float (*values)[kGroupOutputs]) {
  const WeightForm form = form_of(type);
  const std::size_t per_word = form.codes_per_word();
  const std::uint32_t mask = (1u << form.bits) - 1;
  for (std::size_t o = 0; o < kGroupOutputs; ++o) {
    std::uint32_t codes[kWeightBlock];
    std::uint32_t last_two = 0;
    for (std::size_t v = 0; v < form.bits; ++v) {
      std::uint32_t word;
      __builtin_memcpy(&word, block + (v * kGroupOutputs + o) * sizeof word, sizeof word);
      for (std::size_t n = 0; n < per_word; ++n) codes[v * per_word + n] = word >> (form.bits * n) & mask;
      if (32 % form.bits != 0) last_two |= word >> 30 << (2 * v);
    }
    if (32 % form.bits != 0) {
      codes[30] = last_two & mask;
      codes[31] = last_two >> form.bits;
    }
    for (std::size_t k = 0; k < kWeightBlock; ++k) values[k][o] = static_cast<float>(form.value_of(codes[k]));
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

std::size_t outputs_of_group(const PackedView& weight, std::size_t group) {
  const std::size_t first = group * kGroupOutputs;
  if (first >= weight.rows) return 0;
  return weight.rows - first < kGroupOutputs ? weight.rows - first : kGroupOutputs;
}

void decode_quantized(const DecodeProduct& p, std::size_t group) {
  const PackedView& weight = p.weight;
  const WeightForm form = form_of(weight.type);
  const std::byte* data = weight.data + group * weight.group_bytes;
  const std::size_t first = group * kGroupOutputs;
  const std::size_t outputs = outputs_of_group(weight, group);
  for (std::size_t r = 0; r < p.rows; ++r) {
    for (std::size_t o = 0; o < outputs; ++o) p.y[r * p.y_stride + first + o] = 0;
  }
  for (std::size_t b = 0; b < weight.columns / kWeightBlock; ++b) {
    float values[kWeightBlock][kGroupOutputs];
    unpack_values(weight.type, data + form.block_at(b), values);
    for (std::size_t part = 0; part < form.scales_per_block(); ++part) {
      const std::size_t begin = part * form.scale_columns;
      const std::size_t run = b * form.scales_per_block() + part;
      for (std::size_t o = 0; o < outputs; ++o) {
        const Scale scale = scale_at(form, data, b, part, o);
        for (std::size_t r = 0; r < p.rows; ++r) {
          const float* x = p.x + r * p.x_stride + b * kWeightBlock;
          float sum = 0;
          for (std::size_t k = begin; k < begin + form.scale_columns; ++k) sum += values[k][o] * x[k];
          float term = scale.scale * sum;
          if (form.has_minimum) term += scale.minimum * p.x[r * p.x_stride + weight.columns + run];
          p.y[r * p.y_stride + first + o] += term;
        }
      }
    }
  }
}

void decode_floats(const DecodeProduct& p, std::size_t group) {
  const PackedView& weight = p.weight;
  const std::byte* data = weight.data + group * weight.group_bytes;
  const std::size_t first = group * kGroupOutputs;
  for (std::size_t r = 0; r < p.rows; ++r) {
    for (std::size_t o = 0; o < outputs_of_group(weight, group); ++o) {
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

void unpack_panel(const PackedView& weight, std::size_t first_group, std::size_t first_column, std::size_t depth,
                  float* panel) {
  const WeightForm form = form_of(weight.type);
  for (std::size_t g = 0; g < kPanelGroups; ++g) {
    const std::byte* data = weight.data + (first_group + g) * weight.group_bytes;
    float* to = panel + g * kGroupOutputs;
    if (!form.is_quantized()) {
      for (std::size_t k = 0; k < depth; ++k) {
        for (std::size_t o = 0; o < kGroupOutputs; ++o) {
          to[k * kPanelColumns + o] = float_at(weight, data, (first_column + k) * kGroupOutputs + o);
        }
      }
      continue;
    }
    for (std::size_t k = 0; k < depth; k += kWeightBlock) {
      const std::size_t b = (first_column + k) / kWeightBlock;
      float values[kWeightBlock][kGroupOutputs];
      unpack_values(weight.type, data + form.block_at(b), values);
      for (std::size_t o = 0; o < kGroupOutputs; ++o) {
        for (std::size_t i = 0; i < kWeightBlock; ++i) {
          const Scale scale = scale_at(form, data, b, i / form.scale_columns, o);
          to[(k + i) * kPanelColumns + o] = scale.scale * values[i][o] + scale.minimum;
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

void prepare_decode(WeightType type, const float* x, std::size_t columns, float* prepared) {
  const WeightForm form = form_of(type);
  __builtin_memcpy(prepared, x, columns * sizeof(float));
  for (std::size_t k = 0; form.has_minimum && k < columns; k += form.scale_columns) {
    float sum = 0;
    for (std::size_t i = k; i < k + form.scale_columns; ++i) sum += x[i];
    prepared[columns + k / form.scale_columns] = sum;
  }
}

void decode(const DecodeProduct& p) {
  for (std::size_t group = p.first_group; group < p.first_group + p.groups; ++group) {
    if (form_of(p.weight.type).is_quantized()) {
      decode_quantized(p, group);
    } else {
      decode_floats(p, group);
    }
  }
}

}  // namespace rotulus::kernels::cpu::scalar
