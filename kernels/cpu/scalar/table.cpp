#include "kernels/cpu/scalar/kernels.h"

namespace rotulus::kernels::cpu {

const KernelTable& scalar_kernels() {
  static constexpr KernelTable kTable = {
      .name = "scalar",
      .unpack_panel = scalar::unpack_panel,
      .multiply_panel = scalar::multiply_panel,
      .prepare_decode = scalar::prepare_decode,
      .decode = scalar::decode,
      .norm = scalar::norm,
      .add = scalar::add,
      .silu_multiply = scalar::silu_multiply,
      .gelu_multiply = scalar::gelu_multiply,
      .soft_cap = scalar::soft_cap,
      .rope_table = scalar::rope_table,
      .rotate = scalar::rotate,
      .encode_f16 = scalar::encode_f16,
      .fold_stripe = scalar::fold_stripe,
      .scale = scalar::scale,
      .log_sums = scalar::log_sums,
      .merge_weights = scalar::merge_weights,
      .blend = scalar::blend,
      .score_block = scalar::score_block,
      .sum_scores = scalar::sum_scores,
      .raise_votes = scalar::raise_votes,
  };
  return kTable;
}

}  // namespace rotulus::kernels::cpu
