#include "kernels/cpu/packed_weight.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/check.h"
#include "kernels/cpu/half.h"
#include "kernels/cpu/weights/file_block.h"

namespace rotulus::kernels::cpu {
namespace {

void put_half(std::uint16_t bits, std::byte* row, std::size_t output) {
  std::memcpy(row + 2 * output, &bits, sizeof bits);
}

// 32 codes of one output into its lane of the words.
void pack_codes(const WeightForm& form, const FileBlock& block, std::size_t output, std::byte* words) {
  const std::size_t per_word = form.codes_per_word();
  const std::uint32_t last_two = block.codes[30] | std::uint32_t{block.codes[31]} << form.bits;
  for (std::size_t v = 0; v < form.bits; ++v) {
    std::uint32_t word = 0;
    for (std::size_t n = 0; n < per_word; ++n) word |= std::uint32_t{block.codes[v * per_word + n]} << (form.bits * n);
    if (32 % form.bits != 0) word |= (last_two >> (2 * v) & 3u) << 30;
    std::memcpy(words + (v * kGroupOutputs + output) * sizeof word, &word, sizeof word);
  }
}

// The same in bytes.
void pack_code_bytes(const WeightForm& form, const FileBlock& block, std::size_t output, std::byte* words) {
  const std::size_t per_word = form.codes_per_word();
  for (std::size_t v = 0; v < form.bits; ++v) {
    std::uint32_t word = 0;
    for (std::size_t n = 0; n < per_word; ++n) {
      word |= std::uint32_t{block.codes[v * per_word + n]} << (8 * (n % 4) + form.bits * (n / 4));
    }
    std::memcpy(words + (v * kGroupOutputs + output) * sizeof word, &word, sizeof word);
  }
}

void pack_scales(const WeightForm& form, const FileBlock& block, std::size_t output, std::byte* header, std::byte* to) {
  if (form.scale == ScaleKind::f16) {
    put_half(block.scale, to + form.scale_offset(0), output);
    if (form.has_minimum) put_half(block.minimum, to + form.minimum_offset(0), output);
    return;
  }
  for (std::size_t i = 0; i < form.scales_per_block(); ++i) {
    to[form.scale_offset(i) + output] = std::byte{block.scales[i]};
    if (form.has_minimum) to[form.minimum_offset(i) + output] = std::byte{block.minimums[i]};
  }
  if (form.scale != ScaleKind::integer) return;
  put_half(block.scale, header, output);
  if (form.has_minimum) put_half(block.minimum, header + 2 * kGroupOutputs, output);
}

// What a weight of floats becomes in bytes.
WeightType packed_type(const WeightSource& source, Packing packing) {
  return packing == Packing::bytes && !form_of(source.type).is_quantized() ? WeightType::q8_0 : source.type;
}

std::size_t group_bytes(const WeightSource& source, Packing packing) {
  const WeightForm form = form_of(packed_type(source, packing), packing);
  if (!form.is_quantized()) return weight_row_bytes(source.type, source.columns) * kGroupOutputs;
  return form.block_at(source.columns / kWeightBlock) - form.header_bytes();
}

std::size_t group_count(const WeightSource& source) {
  return (source.rows + kPanelColumns - 1) / kPanelColumns * kPanelGroups;
}

// 32 floats as Q8_0: the largest magnitude is 127 units, a unit is rounded to f16 first. NaN where one of them is.
FileBlock round_to_q8_0(const float* x) {
  float largest = 0;
  for (std::size_t k = 0; k < kWeightBlock && !std::isnan(largest); ++k) {
    if (!(std::abs(x[k]) <= largest)) largest = std::abs(x[k]);
  }
  FileBlock block{.scale = float_to_f16(largest / 127)};
  const float unit = f16_to_float(block.scale);
  for (std::size_t k = 0; k < kWeightBlock; ++k) {
    const float code = unit > 0 && std::isfinite(unit) ? std::nearbyint(x[k] / unit) : 0.0f;
    block.codes[k] = static_cast<std::uint8_t>(std::clamp(code, -127.0f, 127.0f) + 128.0f);
  }
  return block;
}

FileBlock read_block(const WeightSource& source, const std::byte* row, std::size_t index) {
  if (form_of(source.type).is_quantized()) return read_file_block(source.type, row, index);
  float values[kWeightBlock];
  dequantize_row(source.type, row + index * weight_row_bytes(source.type, kWeightBlock), kWeightBlock, values);
  return round_to_q8_0(values);
}

void pack_output(const WeightSource& source, Packing packing, std::size_t output, std::byte* group) {
  const WeightForm form = form_of(packed_type(source, packing), packing);
  const std::byte* row = source.bytes.data() + output * weight_row_bytes(source.type, source.columns);
  const std::size_t lane = output % kGroupOutputs;
  if (form.is_quantized()) {
    for (std::size_t b = 0; b < source.columns / kWeightBlock; ++b) {
      const FileBlock block = read_block(source, row, b);
      std::byte* const to = group + form.block_at(b);
      (packing == Packing::bytes ? pack_code_bytes : pack_codes)(form, block, lane, to);
      pack_scales(form, block, lane, group + form.header_at(b), to);
    }
    return;
  }
  const std::size_t step = weight_row_bytes(source.type, 1);
  for (std::size_t k = 0; k < source.columns; ++k) {
    std::memcpy(group + (k * kGroupOutputs + lane) * step, row + k * step, step);
  }
}

// Floats whose rows are no whole groups stay as they are.
Packing possible(const WeightSource& source, Packing packing) {
  return source.columns % kWeightBlock == 0 ? packing : Packing::words;
}

// Products of a scale and a value are exact in float (weight_form.h), so this rounds once at most.
void dequantize_block(WeightType type, const FileBlock& block, float* y) {
  const WeightForm form = form_of(type);
  for (std::size_t k = 0; k < kWeightBlock; ++k) {
    const std::size_t part = k / form.scale_columns;
    float scale = f16_to_float(block.scale);
    float minimum = form.has_minimum ? f16_to_float(block.minimum) : 0.0f;
    if (form.scale == ScaleKind::e8m0) scale = __builtin_bit_cast(float, e8m0_half_bits(block.scales[0]));
    if (form.scale == ScaleKind::integer) {
      scale *= static_cast<std::int8_t>(block.scales[part]);
      minimum *= -static_cast<float>(block.minimums[part]);
    }
    y[k] = scale * static_cast<float>(form.value_of(block.codes[k])) + minimum;
  }
}

}  // namespace

CpuPackedWeight::CpuPackedWeight(const WeightSource& source, Packing wanted, ThreadPool& pool)
    : buffer_(group_count(source) * group_bytes(source, possible(source, wanted))),
      view_{packed_type(source, possible(source, wanted)),
            possible(source, wanted),
            source.rows,
            source.columns,
            group_bytes(source, possible(source, wanted)),
            buffer_.data()} {
  KERNELS_CHECK(source.bytes.size() == source.rows * weight_row_bytes(source.type, source.columns), source.bytes.size(),
                source.rows, source.columns);
  const std::size_t used_groups = (source.rows + kGroupOutputs - 1) / kGroupOutputs;
  pool.parallel_for(used_groups, [&](std::size_t group, std::size_t) {
    const std::size_t end = std::min(source.rows, (group + 1) * kGroupOutputs);
    for (std::size_t output = group * kGroupOutputs; output < end; ++output) {
      pack_output(source, view_.packing, output, buffer_.data() + group * view_.group_bytes);
    }
  });
}

FileBlock read_file_block(WeightType type, const std::byte* row, std::size_t index) {
  switch (type) {
    case WeightType::q2_k:
    case WeightType::q3_k:
    case WeightType::q4_k:
    case WeightType::q5_k:
    case WeightType::q6_k:
      return read_k_block(type, row, index);
    case WeightType::iq4_nl:
    case WeightType::iq4_xs:
    case WeightType::mxfp4:
      return read_codebook_block(type, row, index);
    default:
      return read_plain_block(type, row, index);
  }
}

void dequantize_row(WeightType type, const std::byte* row, std::size_t columns, float* y) {
  if (type == WeightType::f32) {
    std::memcpy(y, row, columns * sizeof(float));
  } else if (type == WeightType::f16) {
    for (std::size_t k = 0; k < columns; ++k) y[k] = f16_to_float(half_at(row + 2 * k));
  } else if (type == WeightType::bf16) {
    for (std::size_t k = 0; k < columns; ++k) y[k] = bf16_to_float(half_at(row + 2 * k));
  } else {
    for (std::size_t b = 0; b < columns / kWeightBlock; ++b) {
      dequantize_block(type, read_file_block(type, row, b), y + b * kWeightBlock);
    }
  }
}

}  // namespace rotulus::kernels::cpu
