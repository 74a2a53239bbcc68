// The matmul verb above the inner kernels: how the products are cut into pieces for the threads.
#pragma once

#include "kernels/cpu/attend.h"

namespace rotulus::kernels::cpu {

// Over column panels and runs of rows, never over the inputs: a panel is dequantized once for all rows of a piece.
void multiply_prefill(Machine& machine, const PackedView& weight, ConstMatrix x, Matrix y);

// Over groups of outputs: the weights are read once, in the order in which they lie.
void multiply_decode(Machine& machine, const PackedView& weight, ConstMatrix x, Matrix y);

// In 8-bit integers, of weights packed in bytes: many rows as in prefill, few as in decode, with the same bits.
void multiply_codes(Machine& machine, const PackedView& weight, ConstMatrix x, Matrix y);

}  // namespace rotulus::kernels::cpu
