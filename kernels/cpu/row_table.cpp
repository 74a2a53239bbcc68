// The table of one row; compiled once for each.
#include "kernels/cpu/row_kernels.h"

#define ROTULUS_QUOTED(name) #name
#define ROTULUS_NAME_OF(row) ROTULUS_QUOTED(row)

namespace rotulus::kernels::cpu::ROTULUS_ROW {

const KernelTable& kernel_table() {
  static constexpr KernelTable kTable = {
      .name = ROTULUS_NAME_OF(ROTULUS_ROW),
      .unpack_panel = unpack_panel,
      .multiply_panel = multiply_panel,
      .prepare_decode = prepare_decode,
      .decode = decode,
      .norm = norm,
      .add = add,
      .silu_multiply = silu_multiply,
      .gelu_multiply = gelu_multiply,
      .soft_cap = soft_cap,
      .rope_table = rope_table,
      .rotate = rotate,
      .encode_f16 = encode_f16,
      .fold_stripe = fold_stripe,
      .scale = scale,
      .log_sums = log_sums,
      .merge_weights = merge_weights,
      .blend = blend,
      .score_block = score_block,
      .sum_scores = sum_scores,
      .raise_votes = raise_votes,
  };
  return kTable;
}

}  // namespace rotulus::kernels::cpu::ROTULUS_ROW
