#include "kernels/cpu/avx512/kernels.h"

namespace rotulus::kernels::cpu {

const KernelTable& avx512_kernels() {
  static constexpr KernelTable kTable = {
      .name = "avx512",
      .unpack_panel = avx512::unpack_panel,
      .multiply_panel = avx512::multiply_panel,
      .prepare_decode = avx512::prepare_decode,
      .decode = avx512::decode,
      .norm = avx512::norm,
      .add = avx512::add,
      .silu_multiply = avx512::silu_multiply,
      .gelu_multiply = avx512::gelu_multiply,
      .soft_cap = avx512::soft_cap,
      .rope_table = avx512::rope_table,
      .rotate = avx512::rotate,
      .encode_f16 = avx512::encode_f16,
      .fold_stripe = avx512::fold_stripe,
      .scale = avx512::scale,
      .log_sums = avx512::log_sums,
      .merge_weights = avx512::merge_weights,
      .blend = avx512::blend,
      .score_block = avx512::score_block,
      .sum_scores = avx512::sum_scores,
      .raise_votes = avx512::raise_votes,
  };
  return kTable;
}

}  // namespace rotulus::kernels::cpu
