// The packed form of weights, common to all ISA rows, and the facts about each type that it follows from.
//
// A packed weight is cut into groups of 16 outputs; groups are padded with zeros to whole panels of 64 outputs. A group
// of a type that is not quantized is [columns][16 outputs]. That of a quantized type is a list of blocks of 32 columns,
// each
//
//   codes     uint32 [bits][16]    32 codes of `bits` bits for each output (see below)
//   scales    [32 / scale_columns][16] of f16, of e8m0 (a power of two), or of int8
//   minimums  likewise, of f16 or of uint8, where the type has them
//
// Where scales are integers, 8 blocks stand behind one header, f16 [16] (and f16 [16] for the minimums), which they
// multiply. A weight is, with every product exact in float32,
//
//   w = scale * value(code) + minimum         or, of integers,   w = (header * scale) * value(code) - header' * minimum
//
// A word holds 32 / bits codes, the first column in the lowest bits, so one vector of words holds the same columns of
// 16 outputs. Of 3, 5 and 6 bits a word leaves its two highest bits: together those of all words, lowest word first,
// hold the codes of columns 30 and 31. value(code) = code - zero, or an entry of a codebook of 16; int8 codes of the
// file are counted from 0.
//
// For products in 8-bit integers (code_kernels.h) weights are packed in bytes instead of words: codes of 3 bits are
// stored in 4, those of 5 and 6 in 8, and code n of a word stands in byte n mod 4, at bit `bits` * (n / 4) of it. So a
// shift and a mask give four neighbouring columns in the bytes of each lane.
//
// Everything in the nameless namespace has internal linkage: rows must not emit weak symbols.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/views.h"

namespace rotulus::kernels::cpu {

enum class Packing : std::uint8_t { words, bytes };

namespace {

constexpr std::size_t kGroupOutputs = 16;  // outputs interleaved in a packed weight
constexpr std::size_t kPanelColumns = 64;  // outputs of one float32 panel
constexpr std::size_t kPanelGroups = kPanelColumns / kGroupOutputs;
constexpr std::size_t kWeightBlock = 32;  // columns of one packed block
constexpr std::size_t kHeaderBlocks = 8;  // blocks that share a header

enum class ScaleKind : std::uint8_t { none, f16, e8m0, integer };

constexpr std::int8_t kIq4Values[] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
constexpr std::int8_t kFp4Values[] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};  // e2m1, doubled

struct WeightForm {
  std::uint32_t bits = 0;                 // of a code
  std::uint32_t zero = 0;                 // the code of 0
  const std::int8_t* codebook = nullptr;  // [16] values of 4-bit codes, instead of code - zero
  ScaleKind scale = ScaleKind::none;
  bool has_minimum = false;
  std::size_t scale_columns = 32;

  constexpr bool is_quantized() const { return bits != 0; }
  constexpr std::int32_t value_of(std::uint32_t code) const {
    return codebook != nullptr ? codebook[code] : static_cast<std::int32_t>(code) - static_cast<std::int32_t>(zero);
  }
  constexpr std::size_t codes_per_word() const { return 32 / bits; }
  constexpr std::size_t scales_per_block() const { return kWeightBlock / scale_columns; }
  constexpr std::size_t scale_bytes() const { return (scale == ScaleKind::f16 ? 2 : 1) * kGroupOutputs; }

  // Where things lie in a block, and its size.
  constexpr std::size_t scale_offset(std::size_t index) const {
    return bits * kGroupOutputs * 4 + index * scale_bytes();
  }
  constexpr std::size_t minimum_offset(std::size_t index) const { return scale_offset(scales_per_block() + index); }
  constexpr std::size_t block_bytes() const {
    return has_minimum ? minimum_offset(scales_per_block()) : scale_offset(scales_per_block());
  }
  constexpr std::size_t header_bytes() const {
    return scale != ScaleKind::integer ? 0 : (has_minimum ? 4 : 2) * kGroupOutputs;
  }

  // Offsets in a group of block `index` and of its header.
  constexpr std::size_t header_at(std::size_t index) const {
    return index / kHeaderBlocks * (header_bytes() + kHeaderBlocks * block_bytes());
  }
  constexpr std::size_t block_at(std::size_t index) const {
    return header_bytes() == 0 ? index * block_bytes()
                               : header_at(index) + header_bytes() + index % kHeaderBlocks * block_bytes();
  }
};

[[maybe_unused]] constexpr WeightForm form_of(WeightType type) {
  switch (type) {
    case WeightType::f32:
    case WeightType::f16:
    case WeightType::bf16:
      return {};
    case WeightType::q8_0:
      return {.bits = 8, .zero = 128, .scale = ScaleKind::f16};
    case WeightType::q4_0:
      return {.bits = 4, .zero = 8, .scale = ScaleKind::f16};
    case WeightType::q4_1:
      return {.bits = 4, .scale = ScaleKind::f16, .has_minimum = true};
    case WeightType::q5_0:
      return {.bits = 5, .zero = 16, .scale = ScaleKind::f16};
    case WeightType::q5_1:
      return {.bits = 5, .scale = ScaleKind::f16, .has_minimum = true};
    case WeightType::q2_k:
      return {.bits = 2, .scale = ScaleKind::integer, .has_minimum = true, .scale_columns = 16};
    case WeightType::q3_k:
      return {.bits = 3, .zero = 4, .scale = ScaleKind::integer, .scale_columns = 16};
    case WeightType::q4_k:
      return {.bits = 4, .scale = ScaleKind::integer, .has_minimum = true};
    case WeightType::q5_k:
      return {.bits = 5, .scale = ScaleKind::integer, .has_minimum = true};
    case WeightType::q6_k:
      return {.bits = 6, .zero = 32, .scale = ScaleKind::integer, .scale_columns = 16};
    case WeightType::iq4_nl:
      return {.bits = 4, .codebook = kIq4Values, .scale = ScaleKind::f16};
    case WeightType::iq4_xs:
      return {.bits = 4, .codebook = kIq4Values, .scale = ScaleKind::integer};
    case WeightType::mxfp4:
      return {.bits = 4, .codebook = kFp4Values, .scale = ScaleKind::e8m0};
  }
  return {};
}

[[maybe_unused]] constexpr WeightForm form_of(WeightType type, Packing packing) {
  WeightForm form = form_of(type);
  if (packing == Packing::bytes) form.bits = form.bits == 3 ? 4 : form.bits == 5 || form.bits == 6 ? 8 : form.bits;
  return form;
}

// The bits of half of 2^(exponent - 127), as MXFP4 scales its doubled values; 2^-128 and 2^-127 are subnormal.
[[maybe_unused]] constexpr std::uint32_t e8m0_half_bits(std::uint8_t exponent) {
  return exponent < 2 ? 0x00200000u << exponent : static_cast<std::uint32_t>(exponent - 1) << 23;
}

}  // namespace
}  // namespace rotulus::kernels::cpu
