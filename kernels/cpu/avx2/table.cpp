#include "kernels/cpu/avx2/kernels.h"

namespace rotulus::kernels::cpu {

const KernelTable& avx2_kernels() {
  static constexpr KernelTable kTable = {
      .name = "avx2",
      .unpack_panel = avx2::unpack_panel,
      .multiply_panel = avx2::multiply_panel,
      .prepare_decode = avx2::prepare_decode,
      .decode = avx2::decode,
      .norm = avx2::norm,
      .add = avx2::add,
      .silu_multiply = avx2::silu_multiply,
      .gelu_multiply = avx2::gelu_multiply,
      .soft_cap = avx2::soft_cap,
      .rope_table = avx2::rope_table,
      .rotate = avx2::rotate,
      .encode_f16 = avx2::encode_f16,
      .fold_stripe = avx2::fold_stripe,
      .scale = avx2::scale,
      .log_sums = avx2::log_sums,
      .merge_weights = avx2::merge_weights,
      .blend = avx2::blend,
      .score_block = avx2::score_block,
      .sum_scores = avx2::sum_scores,
      .raise_votes = avx2::raise_votes,
  };
  return kTable;
}

}  // namespace rotulus::kernels::cpu
