// 32 neighbouring weights of a row as GGUF stores them, taken apart into what the packed form (weight_form.h) keeps of
// them. One function for each type; pack() and embed() are written on these alone.
//
// Sources: the block structs of ggml; the OCP Microscaling Formats specification for MXFP4.
#pragma once

#include <array>

#include "kernels/cpu/weight_form.h"

namespace rotulus::kernels::cpu {

struct FileBlock {
  std::array<std::uint8_t, kWeightBlock> codes{};
  std::uint16_t scale = 0;  // f16: of the block, or the header of integer scales
  std::uint16_t minimum = 0;
  std::array<std::uint8_t, 2> scales{};    // int8, or the exponent of e8m0
  std::array<std::uint8_t, 2> minimums{};  // of 16 columns each, or only the first
};

// Block `index` of a row of a quantized type.
FileBlock read_file_block(WeightType type, const std::byte* row, std::size_t index);

// By family. Blocks of 32: Q4_0, Q4_1, Q5_0, Q5_1, Q8_0.
FileBlock read_plain_block(WeightType type, const std::byte* row, std::size_t index);
// Superblocks of 256 with integer scales: Q2_K to Q6_K.
FileBlock read_k_block(WeightType type, const std::byte* row, std::size_t index);
// 4-bit codes of values that are not evenly spaced: IQ4_NL, IQ4_XS, MXFP4.
FileBlock read_codebook_block(WeightType type, const std::byte* row, std::size_t index);

static inline unsigned byte_at(const std::byte* from, std::size_t index) {
  return static_cast<unsigned>(from[index]);
}
static inline std::uint16_t half_at(const std::byte* from) {
  return static_cast<std::uint16_t>(byte_at(from, 0) | byte_at(from, 1) << 8);
}

// In 16 bytes, the low nibbles are codes 0..15, the high ones 16..31.
static inline unsigned split_nibble(const std::byte* from, std::size_t index) {
  return byte_at(from, index % 16) >> (index < 16 ? 0 : 4) & 15u;
}

}  // namespace rotulus::kernels::cpu
