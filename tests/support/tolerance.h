// Tolerances by family, so that none is guessed for one test. u = 2^-24 is the unit roundoff of float.
//
//   exact        the same bits
//   elementwise  a few roundings of one value: 8 u of its magnitude
//   reduction    a sum of n terms in float: (8 + 2 sqrt(n)) u of the sum of the terms' magnitudes; the worst case grows
//                with n, but roundings are as often up as down, and a wrong term is larger than this by orders
//   quantized    a reduction whose terms are (|scale q| + |minimum|) |x|: scale and minimum are applied to partial sums
#pragma once

#include <cmath>
#include <cstddef>
#include <cstring>
#include <span>

namespace rotulus::tests {

inline constexpr double kUnitRoundoff = 0x1p-24;

inline double elementwise(double magnitude) {
  return 8 * kUnitRoundoff * magnitude;
}

inline double reduction(std::size_t terms, double sum_of_magnitudes) {
  return (8 + 2 * std::sqrt(static_cast<double>(terms))) * kUnitRoundoff * sum_of_magnitudes;
}

inline double quantized(std::size_t terms, double sum_of_magnitudes) {
  return reduction(terms, sum_of_magnitudes);
}

template <typename T>
bool exact(std::span<const T> a, std::span<const T> b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size_bytes()) == 0);
}

}  // namespace rotulus::tests
