// The verbs that treat one row or one head at a time.
#include "kernels/cpu/elementary.h"
#include "kernels/cpu/half.h"
#include "kernels/cpu/row_kernels.h"
#include "kernels/cpu/sincos.h"

namespace rotulus::kernels::cpu::scalar {

void norm(const float* x, const float* weight, float epsilon, std::size_t count, float* y) {
  double squares = 0;
  for (std::size_t i = 0; i < count; ++i) squares += static_cast<double>(x[i]) * x[i];
  const auto factor = static_cast<float>(1.0 / __builtin_sqrt(squares / static_cast<double>(count) + epsilon));
  for (std::size_t i = 0; i < count; ++i) y[i] = x[i] * factor * weight[i];
}

void add(const float* x, std::size_t count, float* into) {
  for (std::size_t i = 0; i < count; ++i) into[i] += x[i];
}

void silu_multiply(const float* gate, const float* up, std::size_t count, float* y) {
  for (std::size_t i = 0; i < count; ++i) {
    y[i] = static_cast<float>(gate[i] / (1.0 + exp_double(-static_cast<double>(gate[i])))) * up[i];
  }
}

void gelu_multiply(const float* gate, const float* up, std::size_t count, float* y) {
  for (std::size_t i = 0; i < count; ++i) {
    const double g = gate[i];
    y[i] = static_cast<float>(g / (1.0 + exp_double(-g * (kGelu[0] + kGelu[1] * g * g)))) * up[i];
  }
}

void soft_cap(float cap, std::size_t count, float* x) {
  for (std::size_t i = 0; i < count; ++i) {
    x[i] = static_cast<float>(cap * tanh_double(static_cast<double>(x[i]) / cap));
  }
}

void rope_table(double position, const double* inverse_frequencies, std::size_t pairs, float* cosines, float* sines) {
  for (std::size_t j = 0; j < pairs; ++j) {
    const SinCos turned = sincos_double(position * inverse_frequencies[j]);
    cosines[j] = static_cast<float>(turned.cosine);
    sines[j] = static_cast<float>(turned.sine);
  }
}

void rotate(const Rotation& rotation, const float* x, float* y) {
  const std::size_t pairs = rotation.dims / 2;
  for (std::size_t j = 0; j < pairs; ++j) {
    const std::size_t first = rotation.neighbours ? 2 * j : j;
    const std::size_t second = rotation.neighbours ? 2 * j + 1 : j + pairs;
    const float a = x[first];
    const float b = x[second];
    y[first] = (a * rotation.cosines[j] - b * rotation.sines[j]) * rotation.scale;
    y[second] = (b * rotation.cosines[j] + a * rotation.sines[j]) * rotation.scale;
  }
  for (std::size_t i = rotation.dims; i < rotation.head_dim; ++i) y[i] = x[i] * rotation.scale;
}

void encode_f16(const float* x, std::size_t count, std::uint16_t* y) {
  for (std::size_t i = 0; i < count; ++i) y[i] = float_to_f16(x[i]);
}

}  // namespace rotulus::kernels::cpu::scalar
