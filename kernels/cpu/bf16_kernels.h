// Prefill products in Arithmetic::bf16: what a row of kernels with dot products of bf16 provides beside its table.
//
// Inputs and dequantized weights are rounded to the nearest bf16; products of two neighbouring columns are added to a
// float32 at once, as the instruction does it. Two bf16 stand in the place of a float, the lower column in the lower
// half: a PanelProduct is then of pairs, its depth and strides counted in them, its runs kSumRun / 2 long.
#pragma once

#include "kernels/cpu/kernel_table.h"

namespace rotulus::kernels::cpu {

struct Bf16Kernels {
  // [columns] to [(columns + 1) / 2]; what is missing of the last pair is 0.
  void (*round_row)(const float* x, std::size_t columns, float* pairs);
  // [depth][64] to [(depth + 1) / 2][64], likewise.
  void (*round_panel)(const float* panel, std::size_t depth, float* pairs);
  void (*multiply_panel)(const PanelProduct& product);
};

const Bf16Kernels& avx512_bf16_kernels();  // wants AVX512_BF16

}  // namespace rotulus::kernels::cpu
