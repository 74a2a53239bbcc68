// Blocks of 32 weights with one f16 scale: f16 scale, (f16 minimum,) (uint32 fifth bits,) codes. Those of
// Q8_0 are int8; we count them from 0.
#include "kernels/cpu/weights/file_block.h"

namespace rotulus::kernels::cpu {

FileBlock read_plain_block(WeightType type, const std::byte* row, std::size_t index) {
  const WeightForm form = form_of(type);
  const std::byte* at = row + index * weight_row_bytes(type, kWeightBlock);
  FileBlock block{.scale = half_at(at)};
  at += 2;
  if (form.has_minimum) {
    block.minimum = half_at(at);
    at += 2;
  }
  const std::byte* const fifth_bits = at;
  if (form.bits == 5) at += 4;
  for (std::size_t k = 0; k < kWeightBlock; ++k) {
    unsigned code = form.bits == 8 ? byte_at(at, k) ^ 128u : split_nibble(at, k);
    if (form.bits == 5) code |= (byte_at(fifth_bits, k / 8) >> k % 8 & 1u) << 4;
    block.codes[k] = static_cast<std::uint8_t>(code);
  }
  return block;
}

}  // namespace rotulus::kernels::cpu
