// Dense products in 8-bit integers, Arithmetic::int8: what an instruction-set row provides for them.
//
// A row of inputs is rounded block by block of 32, x = scale * q with q in -127..127, the largest magnitude 127. The
// codes of a weight are taken as they are (packed in bytes, weight_form.h). Of an output, for each block ascending and
// each run of scale_columns columns in it,
//
//   sum = fma(weight scale, float(<value, q>) * scale, sum)                  <value, q> of integers: exact
//   sum = fma(weight minimum, float(sum of q) * scale, sum)                  where the type has minimums
//
// one chain from zero. Nothing else rounds, so the bits are those of the row and the weights whatever computes them:
// any row of kernels, any tile, either role. A block of inputs that holds a NaN or an infinity makes the row NaN.
//
// Instructions multiply unsigned by signed bytes: value = byte - bias, and bias * (sum of q) is taken off at the start.
#pragma once

#include "kernels/cpu/kernel_table.h"

namespace rotulus::kernels::cpu {

inline constexpr std::size_t kCodeOutputs = 32;  // of one panel: two vectors

// A rounded row is a list of blocks, in floats: q [32] in int8, the scale, and for each run its offset: the float
// (sum of q) * scale where the type has minimums, the integer -bias * (sum of q) otherwise.
// A panel likewise: bytes [8][kCodeOutputs][4] of the 32 columns, for each run the scales [kCodeOutputs], then for each
// run the minimums.
//
// y[r][o] of `outputs` <= kCodeOutputs outputs over `blocks` blocks; the chains begin with y where `extend` is set.
struct CodeProduct {
  WeightType type;
  std::size_t blocks;
  const float* x;  // from the first of these blocks on
  std::size_t x_stride;
  std::size_t rows;
  const float* panel;
  std::size_t outputs;
  float* y;
  std::size_t y_stride;
  bool extend;
};

struct CodeKernels {
  void (*quantize_row)(WeightType type, const float* x, std::size_t columns, float* row);
  // Blocks [first_block, first_block + blocks) of the 2 groups from first_group on.
  void (*unpack_codes)(const PackedView& weight, std::size_t first_group, std::size_t first_block, std::size_t blocks,
                       float* panel);
  void (*multiply_codes)(const CodeProduct& product);
  // Few rows: from the packed weights themselves, read once. nullptr: through panels.
  void (*multiply_few)(const DecodeProduct& product);
};

const CodeKernels& scalar_code_kernels();
const CodeKernels& avx2_code_kernels();
const CodeKernels& avx512_code_kernels();  // wants VNNI

namespace {

constexpr float kLargestCode = 127.0f;
constexpr std::uint32_t kInfinityBits = 0x7f800000u;
constexpr std::uint32_t kTinyBits = 0x0d800000u;  // 2^-100: blocks below it count as zeros; 127 / largest stays finite

constexpr int code_bias(const WeightForm& form) {
  return form.codebook != nullptr ? 128 : static_cast<int>(form.zero);
}

// Where things lie in a block of a rounded row and of a panel, and their sizes, in floats.
constexpr std::size_t kScaleAt = kWeightBlock / 4;
constexpr std::size_t kOffsetsAt = kScaleAt + 1;
constexpr std::size_t kPanelScalesAt = kWeightBlock / 4 * kCodeOutputs;
constexpr std::size_t row_block_floats(const WeightForm& form) {
  return kOffsetsAt + form.scales_per_block();
}
constexpr std::size_t panel_minimums_at(const WeightForm& form) {
  return kPanelScalesAt + form.scales_per_block() * kCodeOutputs;
}
[[maybe_unused]] constexpr std::size_t panel_block_floats(const WeightForm& form) {
  return panel_minimums_at(form) + (form.has_minimum ? form.scales_per_block() * kCodeOutputs : 0);
}

}  // namespace
}  // namespace rotulus::kernels::cpu
