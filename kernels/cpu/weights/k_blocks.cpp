// Superblocks of 256 weights, their scales integers of 4 to 8 bits behind one or two f16:
//
//   Q2_K  scales [16] (low nibble scale, high nibble minimum), codes [64], f16 d, f16 dmin
//   Q3_K  third bits [32], codes [64], scales [12], f16 d
//   Q4_K  f16 d, f16 dmin, scales [12], codes [128]
//   Q5_K  f16 d, f16 dmin, scales [12], fifth bits [32], codes [128]
//   Q6_K  low nibbles [128], high bits [64], int8 scales [16], f16 d
#include "kernels/cpu/weights/file_block.h"

namespace rotulus::kernels::cpu {
namespace {

// Bits of 32 neighbouring weights lie side by side in the same bits of 32 bytes. Runs of 32 bytes of `width` bits hold
// 8 / width blocks, the first in the lowest bits.
unsigned layer(const std::byte* from, unsigned width, std::size_t block, std::size_t k) {
  const std::size_t blocks_per_run = 8 / width;
  const unsigned byte = byte_at(from, block / blocks_per_run * 32 + k);
  return byte >> width * (block % blocks_per_run) & ((1u << width) - 1);
}

// 8 scales and 8 minimums of 6 bits in 12 bytes: the first four of each lie in the low 6 bits of bytes 0..3 and 4..7,
// whose high bits belong to the last four; the low nibbles of these lie in bytes 8..11.
void read_scale_and_minimum(const std::byte* scales, std::size_t block, FileBlock& into) {
  unsigned scale = byte_at(scales, block % 4);
  unsigned minimum = byte_at(scales, 4 + block % 4);
  if (block < 4) {
    scale &= 63u;
    minimum &= 63u;
  } else {
    scale = (byte_at(scales, 4 + block) & 15u) | (scale >> 6) << 4;
    minimum = byte_at(scales, 4 + block) >> 4 | (minimum >> 6) << 4;
  }
  into.scales[0] = static_cast<std::uint8_t>(scale);
  into.minimums[0] = static_cast<std::uint8_t>(minimum);
}

FileBlock read_q2_k(const std::byte* super, std::size_t block) {
  FileBlock into{.scale = half_at(super + 80), .minimum = half_at(super + 82)};
  for (std::size_t half = 0; half < 2; ++half) {
    const unsigned byte = byte_at(super, 2 * block + half);
    into.scales[half] = byte & 15u;
    into.minimums[half] = static_cast<std::uint8_t>(byte >> 4);
  }
  for (std::size_t k = 0; k < kWeightBlock; ++k) {
    into.codes[k] = static_cast<std::uint8_t>(layer(super + 16, 2, block, k));
  }
  return into;
}

// 16 scales of 6 bits, less 32: low nibbles in bytes 0..7 (scales 8..15 in the high half), two high bits in 8..11.
FileBlock read_q3_k(const std::byte* super, std::size_t block) {
  const std::byte* scales = super + 96;
  FileBlock into{.scale = half_at(super + 108)};
  for (std::size_t half = 0; half < 2; ++half) {
    const std::size_t i = 2 * block + half;
    const unsigned low = byte_at(scales, i % 8) >> (i < 8 ? 0 : 4) & 15u;
    const unsigned high = byte_at(scales, 8 + i % 4) >> 2 * (i / 4) & 3u;
    into.scales[half] = static_cast<std::uint8_t>((low | high << 4) - 32);
  }
  for (std::size_t k = 0; k < kWeightBlock; ++k) {
    into.codes[k] = static_cast<std::uint8_t>(layer(super + 32, 2, block, k) | layer(super, 1, block, k) << 2);
  }
  return into;
}

FileBlock read_q4_k_or_q5_k(WeightType type, const std::byte* super, std::size_t block) {
  FileBlock into{.scale = half_at(super), .minimum = half_at(super + 2)};
  read_scale_and_minimum(super + 4, block, into);
  const bool has_fifth = type == WeightType::q5_k;
  for (std::size_t k = 0; k < kWeightBlock; ++k) {
    unsigned code = layer(super + (has_fifth ? 48 : 16), 4, block, k);
    if (has_fifth) code |= layer(super + 16, 1, block, k) << 4;
    into.codes[k] = static_cast<std::uint8_t>(code);
  }
  return into;
}

// The low nibbles of blocks 0, 1 | 2, 3 of each half lie in the low | high nibbles of 64 bytes.
FileBlock read_q6_k(const std::byte* super, std::size_t block) {
  FileBlock into{.scale = half_at(super + 208)};
  for (std::size_t half = 0; half < 2; ++half) {
    into.scales[half] = static_cast<std::uint8_t>(byte_at(super + 192, 2 * block + half));
  }
  const std::byte* low = super + block / 4 * 64 + block % 2 * 32;
  for (std::size_t k = 0; k < kWeightBlock; ++k) {
    const unsigned code = (byte_at(low, k) >> (block % 4 < 2 ? 0 : 4) & 15u) | layer(super + 128, 2, block, k) << 4;
    into.codes[k] = static_cast<std::uint8_t>(code);
  }
  return into;
}

}  // namespace

FileBlock read_k_block(WeightType type, const std::byte* row, std::size_t index) {
  const std::byte* super = row + index / kHeaderBlocks * weight_row_bytes(type, kHeaderBlocks * kWeightBlock);
  const std::size_t block = index % kHeaderBlocks;
  switch (type) {
    case WeightType::q2_k:
      return read_q2_k(super, block);
    case WeightType::q3_k:
      return read_q3_k(super, block);
    case WeightType::q6_k:
      return read_q6_k(super, block);
    default:
      return read_q4_k_or_q5_k(type, super, block);
  }
}

}  // namespace rotulus::kernels::cpu
