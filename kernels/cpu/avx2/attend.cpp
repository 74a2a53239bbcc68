#include "kernels/cpu/avx2/simd.h"
#include "kernels/cpu/row_kernels.h"
#include "kernels/cpu/wide/fold_stripe.h"

namespace rotulus::kernels::cpu::avx2 {

void fold_stripe(const FoldStripe& fold) {
  fold_stripe_with<Simd>(fold);
}

}  // namespace rotulus::kernels::cpu::avx2
