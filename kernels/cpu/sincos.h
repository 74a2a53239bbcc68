// Sine and cosine in double of one angle: Cody-Waite reduction by pi/2 in three parts and Taylor polynomials on
// |r| <= pi/4. The absolute error is below 1e-15 for |angle| < 2^30 (10^9 positions at the highest frequency).
// Functions are static, not inline: the ISA rows must not emit weak symbols.
#pragma once

#include <cstdint>

namespace rotulus::kernels::cpu {

constexpr double kTwoOverPi = 0x1.45f306dc9c883p-1;
// pi/2 = the sum of three parts; the first two have 22 bits, so that n * part is exact for |n| < 2^31.
constexpr double kHalfPi[3] = {0x1.921fbp+0, 0x1.5110bp-22, 0x1.18469898cc517p-44};
// sin r = r (1 + r^2 (S[0] + r^2 (S[1] + ...))), cos r = 1 + r^2 (C[0] + ...); the next terms are below 1e-17.
constexpr double kSine[7] = {-1.0 / 6,        1.0 / 120,        -1.0 / 5040,         1.0 / 362880,
                             -1.0 / 39916800, 1.0 / 6227020800, -1.0 / 1307674368000};
constexpr double kCosine[8] = {-1.0 / 2,       1.0 / 24,        -1.0 / 720,         1.0 / 40320,
                               -1.0 / 3628800, 1.0 / 479001600, -1.0 / 87178291200, 1.0 / 20922789888000};

struct SinCos {
  double sine;
  double cosine;
};

[[maybe_unused]] static SinCos sincos_double(double angle) {
  const double quotient = angle * kTwoOverPi;
  const auto n = static_cast<std::int64_t>(quotient + (quotient < 0 ? -0.5 : 0.5));
  const auto turns = static_cast<double>(n);
  const double r = ((angle - turns * kHalfPi[0]) - turns * kHalfPi[1]) - turns * kHalfPi[2];
  const double square = r * r;
  double sine = kSine[6];
  double cosine = kCosine[7];
  for (int i = 5; i >= 0; --i) sine = sine * square + kSine[i];
  for (int i = 6; i >= 0; --i) cosine = cosine * square + kCosine[i];
  sine = r + r * square * sine;
  cosine = 1.0 + square * cosine;
  switch (n & 3) {
    case 0:
      return {sine, cosine};
    case 1:
      return {cosine, -sine};
    case 2:
      return {-sine, -cosine};
    default:
      return {-cosine, sine};
  }
}

}  // namespace rotulus::kernels::cpu
