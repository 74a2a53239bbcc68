// Merging two partial results: for rows that leave it to the compiler.
#include "kernels/cpu/elementary.h"
#include "kernels/cpu/row_kernels.h"

namespace rotulus::kernels::cpu::ROTULUS_ROW {

void scale(const float* x, float factor, std::size_t count, float* y) {
  for (std::size_t i = 0; i < count; ++i) y[i] = x[i] * factor + 0.0f;  // + 0: a zero is always positive
}

void log_sums(const float* max, const float* sum, std::size_t count, float* lse) {
  for (std::size_t i = 0; i < count; ++i) {
    lse[i] = max[i] == -__builtin_inff() ? max[i] : static_cast<float>(max[i] * kLn2 + log_double(sum[i]));
  }
}

void merge_weights(const float* lse_a, const float* lse_b, std::size_t count, const MergeWeights& into) {
  for (std::size_t i = 0; i < count; ++i) {
    const bool is_a_empty = lse_a[i] == -__builtin_inff();
    const bool is_b_empty = lse_b[i] == -__builtin_inff();
    if (is_a_empty || is_b_empty) {
      into.a[i] = is_b_empty ? 1.0f : 0.0f;
      into.b[i] = is_b_empty ? 0.0f : 1.0f;
      into.lse[i] = is_b_empty ? lse_a[i] : lse_b[i];
      continue;
    }
    const double max = lse_a[i] >= lse_b[i] ? lse_a[i] : lse_b[i];
    const double a = exp_double(lse_a[i] - max);
    const double b = exp_double(lse_b[i] - max);
    const double sum = a + b;  // in [1, 2], or NaN
    into.a[i] = static_cast<float>(a / sum);
    into.b[i] = static_cast<float>(b / sum);
    into.lse[i] = static_cast<float>(max + log_double(sum));
  }
}

void blend(const float* a, float a_weight, const float* b, float b_weight, std::size_t count, float* y) {
  for (std::size_t i = 0; i < count; ++i) y[i] = a_weight * a[i] + b_weight * b[i];
}

}  // namespace rotulus::kernels::cpu::ROTULUS_ROW
