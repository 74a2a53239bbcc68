// 4-bit codes whose values are not evenly spaced (WeightForm::codebook):
//
//   IQ4_NL  f16 scale, codes [16]
//   MXFP4   e8m0 scale, codes [16]
//   IQ4_XS  256 weights: f16 d, uint16 high bits of 8 scales, low nibbles of 8 scales [4], codes [8][16]; scales less
//   32
#include "kernels/cpu/weights/file_block.h"

namespace rotulus::kernels::cpu {
namespace {

FileBlock with_codes(FileBlock block, const std::byte* codes) {
  for (std::size_t k = 0; k < kWeightBlock; ++k) block.codes[k] = static_cast<std::uint8_t>(split_nibble(codes, k));
  return block;
}

FileBlock read_iq4_xs(const std::byte* super, std::size_t block) {
  const unsigned low = byte_at(super + 4, block / 2) >> 4 * (block % 2) & 15u;
  const unsigned high = static_cast<unsigned>(half_at(super + 2)) >> 2 * block & 3u;
  const auto scale = static_cast<std::uint8_t>((low | high << 4) - 32);
  return with_codes({.scale = half_at(super), .scales = {scale}}, super + 8 + 16 * block);
}

}  // namespace

FileBlock read_codebook_block(WeightType type, const std::byte* row, std::size_t index) {
  if (type == WeightType::iq4_xs) {
    const std::size_t super_bytes = weight_row_bytes(type, kHeaderBlocks * kWeightBlock);
    return read_iq4_xs(row + index / kHeaderBlocks * super_bytes, index % kHeaderBlocks);
  }
  const std::byte* at = row + index * weight_row_bytes(type, kWeightBlock);
  if (type == WeightType::mxfp4) return with_codes({.scales = {static_cast<std::uint8_t>(byte_at(at, 0))}}, at + 1);
  return with_codes({.scale = half_at(at)}, at + 2);
}

}  // namespace rotulus::kernels::cpu
