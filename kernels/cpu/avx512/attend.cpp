#include "kernels/cpu/avx512/simd.h"
#include "kernels/cpu/row_kernels.h"
#include "kernels/cpu/wide/fold_stripe.h"

namespace rotulus::kernels::cpu::avx512 {

void fold_stripe(const FoldStripe& fold) {
  fold_stripe_with<Simd>(fold);
}

}  // namespace rotulus::kernels::cpu::avx512
