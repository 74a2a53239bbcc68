// The verbs that treat one row or one head at a time. What is summed in double uses the functions that all rows have.
#include "kernels/cpu/avx2/simd.h"
#include "kernels/cpu/elementary.h"
#include "kernels/cpu/row_kernels.h"
#include "kernels/cpu/sincos.h"

namespace rotulus::kernels::cpu::avx2 {
namespace {

using Floats = Simd::Floats;

std::size_t smaller(std::size_t a, std::size_t b) {
  return a < b ? a : b;
}

// Calls step(i, lanes) for vectors of 16 up to count.
template <typename Step>
[[gnu::always_inline]] inline void for_vectors(std::size_t count, const Step& step) {
  for (std::size_t i = 0; i < count; i += 16) step(i, Simd::lanes(0, smaller(16, count - i)));
}

}  // namespace

void norm(const float* x, const float* weight, float epsilon, std::size_t count, float* y) {
  // Squares are summed in two vectors in turn, then halves upon halves.
  Floats even = Simd::zero();
  Floats odd = Simd::zero();
  for_vectors(
      count, [&](std::size_t i, Simd::Lanes lanes) __attribute__((always_inline)) {
        const Floats value = Simd::load(lanes, x + i);
        const Floats sum = Simd::fma(value, value, even);
        even = odd;
        odd = sum;
      });
  const bool is_swapped = (count + 15) / 16 % 2 != 0;
  const float squares = Simd::sum(is_swapped ? Simd::add(odd, even) : Simd::add(even, odd));
  const Floats factor = Simd::all(1.0f / __builtin_sqrtf(squares / static_cast<float>(count) + epsilon));
  for_vectors(
      count, [&](std::size_t i, Simd::Lanes lanes) __attribute__((always_inline)) {
        const Floats scaled = Simd::mul(Simd::load(lanes, x + i), factor);
        Simd::store(lanes, y + i, Simd::mul(scaled, Simd::load(lanes, weight + i)));
      });
}

void add(const float* x, std::size_t count, float* into) {
  for (std::size_t i = 0; i < count; ++i) into[i] += x[i];
}

void silu_multiply(const float* gate, const float* up, std::size_t count, float* y) {
  for_vectors(
      count, [&](std::size_t i, Simd::Lanes lanes) __attribute__((always_inline)) {
        const Floats g = Simd::load(lanes, gate + i);
        const Floats silu = Simd::div(g, Simd::add(Simd::all(1.0f), Simd::exp(Simd::sub(Simd::zero(), g))));
        Simd::store(lanes, y + i, Simd::mul(silu, Simd::load(lanes, up + i)));
      });
}

void gelu_multiply(const float* gate, const float* up, std::size_t count, float* y) {
  const Floats linear = Simd::all(static_cast<float>(-kGelu[0]));
  const Floats cubic = Simd::all(static_cast<float>(-kGelu[1]));
  for_vectors(
      count, [&](std::size_t i, Simd::Lanes lanes) __attribute__((always_inline)) {
        const Floats g = Simd::load(lanes, gate + i);
        const Floats exponent = Simd::mul(g, Simd::fma(cubic, Simd::mul(g, g), linear));
        const Floats gelu = Simd::div(g, Simd::add(Simd::all(1.0f), Simd::exp(exponent)));
        Simd::store(lanes, y + i, Simd::mul(gelu, Simd::load(lanes, up + i)));
      });
}

void soft_cap(float cap, std::size_t count, float* x) {
  const Floats caps = Simd::all(cap);
  for_vectors(
      count, [&](std::size_t i, Simd::Lanes lanes) __attribute__((always_inline)) {
        const Floats share = Simd::div(Simd::load(lanes, x + i), caps);
        Simd::store(lanes, x + i, Simd::mul(caps, Simd::tanh(share)));
      });
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
  std::size_t i = 0;
  for (; i + 8 <= count; i += 8) {
    const __m128i bits = _mm256_cvtps_ph(_mm256_loadu_ps(x + i), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(y + i), bits);
  }
  for (; i < count; ++i) y[i] = float_to_f16(x[i]);
}

}  // namespace rotulus::kernels::cpu::avx2
