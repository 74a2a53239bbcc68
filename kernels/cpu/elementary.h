// exp and ln in double, from additions, products and one division only, so that their bits hang on no library. Used
// where a float result is wanted: the relative error is below 1e-14.
// Functions are static, not inline: the ISA rows must not emit weak symbols.
#pragma once

#include <cstdint>

namespace rotulus::kernels::cpu {

constexpr double kLn2 = 0.69314718055994530942;
constexpr double kLog2E = 1.44269504088896340736;
// ln 2 in two parts, the first of 28 bits, so that small integers times it are exact.
constexpr double kLn2Parts[2] = {0x1.62e42fep-1, 0x1.f473de6af278fp-30};
// gelu(x) = x / (1 + exp(-x (a + b x^2))): (1 + tanh u) / 2 is the logistic function of 2u. a = 2 sqrt(2 / pi).
constexpr double kGelu[2] = {1.59576912160573071176, 1.59576912160573071176 * 0.044715};
// 1 / i!
constexpr double kExpTaylor[14] = {
    1.0,        1.0,         1.0 / 2,      1.0 / 6,       1.0 / 24,       1.0 / 120,       1.0 / 720,
    1.0 / 5040, 1.0 / 40320, 1.0 / 362880, 1.0 / 3628800, 1.0 / 39916800, 1.0 / 479001600, 1.0 / 6227020800};
// artanh(s) / s in powers of s^2.
constexpr double kArtanhSeries[11] = {1.0,      1.0 / 3,  1.0 / 5,  1.0 / 7,  1.0 / 9, 1.0 / 11,
                                      1.0 / 13, 1.0 / 15, 1.0 / 17, 1.0 / 19, 1.0 / 21};

// 0 below -708 (where a double becomes subnormal), infinite above 709, NaN of NaN.
[[maybe_unused]] static double exp_double(double x) {
  if (x != x) return x;
  if (x < -708.0) return 0.0;
  if (x > 709.0) return __builtin_inf();
  // x = n ln 2 + r, |r| <= ln(2) / 2.
  const auto n = static_cast<std::int64_t>(x * kLog2E + (x < 0 ? -0.5 : 0.5));
  const double r = (x - static_cast<double>(n) * kLn2Parts[0]) - static_cast<double>(n) * kLn2Parts[1];
  double sum = kExpTaylor[13];  // the next term is 0.35^14 / 14! = 5e-18
  for (int i = 12; i >= 0; --i) sum = sum * r + kExpTaylor[i];
  return sum * __builtin_bit_cast(double, static_cast<std::uint64_t>(n + 1023) << 52);
}

// To an absolute error of 2e-16.
[[maybe_unused]] static double tanh_double(double x) {
  return 1.0 - 2.0 / (1.0 + exp_double(2.0 * x));
}

// Of positive normal x, and NaN of NaN.
[[maybe_unused]] static double log_double(double x) {
  if (x != x) return x;
  // x = 2^e m, m in [0.75, 1.5); ln m = 2 artanh((m - 1) / (m + 1)), |s| <= 0.2.
  const auto bits = __builtin_bit_cast(std::uint64_t, x);
  auto e = static_cast<std::int64_t>(bits >> 52) - 1023;
  double m = __builtin_bit_cast(double, (bits & 0xfffffffffffffull) | 0x3ff0000000000000ull);
  if (m >= 1.5) {
    m *= 0.5;
    ++e;
  }
  const double s = (m - 1.0) / (m + 1.0);
  const double square = s * s;
  double sum = kArtanhSeries[10];  // the next term is 0.2^23 / 23 = 4e-18
  for (int i = 9; i >= 0; --i) sum = sum * square + kArtanhSeries[i];
  return static_cast<double>(e) * kLn2 + 2.0 * s * sum;
}

}  // namespace rotulus::kernels::cpu
