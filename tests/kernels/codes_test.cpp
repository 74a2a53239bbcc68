// Products in 8-bit integers. Their definition is in three parts, and each is held alone: inputs are rounded block by
// block; what is multiplied are the exact weights; and integers leave the bits no choice.
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <cmath>
#include <limits>

#include "kernels/reference/reference.h"
#include "tests/kernels/fixtures.h"
#include "tests/support/tolerance.h"

namespace rotulus::kernels::tests {
namespace {

using rotulus::tests::exact;

constexpr WeightType kFloatTypes[] = {WeightType::f32, WeightType::f16, WeightType::bf16};

// Each 32 inputs as a multiple of a 127th of the largest of them.
Dense rounded(const Dense& x) {
  Dense y(x.rows, x.columns);
  for (std::size_t i = 0; i < x.values.size(); i += 32) {
    float largest = 0;
    for (std::size_t k = i; k < i + 32; ++k) largest = std::max(largest, std::abs(x.values[k]));
    for (std::size_t k = i; k < i + 32; ++k) {
      y.values[k] = std::nearbyint(x.values[k] * (127 / largest)) * (largest / 127);
    }
  }
  return y;
}

double relative_distance(const Dense& y, const reference::Table& expected) {
  double squares = 0;
  double all = 0;
  for (std::size_t i = 0; i < y.rows; ++i) {
    for (std::size_t o = 0; o < y.columns; ++o) {
      squares += std::pow(y.row(i)[o] - expected.row(i)[o], 2);
      all += std::pow(expected.row(i)[o], 2);
    }
  }
  return std::sqrt(squares / all);
}

bool is_float(WeightType type) {
  return std::find(std::begin(kFloatTypes), std::end(kFloatTypes), type) != std::end(kFloatTypes);
}

class Codes : public ::testing::TestWithParam<Isa> {
 protected:
  static std::unique_ptr<Backend> make(std::size_t threads, Isa isa = GetParam()) {
    return make_cpu_backend(isa, threads, Arithmetic::int8);
  }
};

TEST_P(Codes, MultiplyExactWeightsByRoundedInputs) {
  Random random(1);
  const auto backend = make(2);
  for (const WeightType type : kWeightTypes) {
    if (is_float(type)) continue;
    const RandomWeight weight = random_weight(type, 83, 768, random);
    const auto packed = backend->pack(weight.source);
    const Dense x(15, 768, random);
    const Dense codes = rounded(x);
    const reference::Table magnitudes = reference::magnitudes(weight.source);
    const reference::Table expected = reference::matmul(weight.source, codes.view());
    const Dense y = multiply(*backend, Role::prefill, *packed, x.view());
    for (std::size_t i = 0; i < y.rows; ++i) {
      for (std::size_t o = 0; o < y.columns; ++o) {
        double magnitude = 0;
        for (std::size_t k = 0; k < 768; ++k) magnitude += magnitudes.row(o)[k] * std::abs(codes.row(i)[k]);
        ASSERT_NEAR(y.row(i)[o], expected.row(i)[o], rotulus::tests::quantized(768, magnitude))
            << to_string(type) << " row " << i << " output " << o;
      }
    }
  }
}

// Rounding to 127 steps is off by at most half a step: of 32 normal inputs, whose largest is about 2.1, by
// 2.1 / 127 / sqrt(12) = 0.5 %; float weights by as much again.
TEST_P(Codes, AreWithinAPercentOfTheProductForNormalInputs) {
  Random random(2);
  const auto backend = make(2);
  for (const WeightType type : kWeightTypes) {
    const RandomWeight weight = random_weight(type, 160, 512, random);
    const auto packed = backend->pack(weight.source);
    const Dense x(20, 512, random);
    const Dense y = multiply(*backend, Role::prefill, *packed, x.view());
    EXPECT_LT(relative_distance(y, reference::matmul(weight.source, x.view())), 0.01) << to_string(type);
  }
}

// Every row of kernels, either role, any company and any number of threads: the bits of the scalar row alone.
TEST_P(Codes, HaveTheSameBitsOnEveryRowOfKernelsInAnyRoleAndCompany) {
  const auto alone = make(1, Isa::scalar);
  std::vector<std::unique_ptr<Backend>> backends;
  for (std::size_t threads = 1; threads <= 3; ++threads) backends.push_back(make(threads));
  constexpr std::size_t kRows = 64;
  // More than one panel is deep; the scalar row is too slow for it.
  const std::size_t columns = GetParam() == Isa::scalar ? 256 : 2304;
  Random random(3);
  const Dense x(kRows, columns, random);
  for (const WeightType type : kWeightTypes) {
    const RandomWeight weight = random_weight(type, 83, columns, random);
    const auto packed_alone = alone->pack(weight.source);
    const auto packed = backends[0]->pack(weight.source);
    const Dense expected = multiply(*alone, Role::prefill, *packed_alone, x.view());
    const bool held = rc::check(std::string(to_string(type)) + " rows are independent", [&] {
      const auto count = *rc::gen::inRange<std::size_t>(1, kRows + 1);
      const auto first = *rc::gen::inRange<std::size_t>(0, kRows - count + 1);
      const Role role = *rc::gen::element(Role::prefill, Role::decode);
      Backend& backend = *backends[*rc::gen::inRange<std::size_t>(0, 3)];
      const Dense y = multiply(backend, role, *packed, x.rows_from(first, count));
      for (std::size_t i = 0; i < count; ++i) RC_ASSERT(exact(y.row(i), expected.row(first + i)));
    });
    EXPECT_TRUE(held);
  }
}

TEST_P(Codes, TakeExtremeInputsWithoutSaturating) {
  Random random(4);
  const auto backend = make(1);
  for (const WeightType type : kWeightTypes) {
    if (is_float(type)) continue;
    const RandomWeight weight = random_weight(type, 32, 256, random);
    const auto packed = backend->pack(weight.source);
    Dense x(4, 256);
    for (std::size_t k = 0; k < 256; ++k) {
      x.view().row(0)[k] = 3e30f;                      // every code 127
      x.view().row(1)[k] = -3e30f;                     // every code -127
      x.view().row(2)[k] = k % 2 == 0 ? 1.0f : -1.0f;  // both
    }
    const Dense y = multiply(*backend, Role::prefill, *packed, x.view());
    const reference::Table magnitudes = reference::magnitudes(weight.source);
    const reference::Table expected = reference::matmul(weight.source, x.view());
    for (std::size_t i = 0; i < 4; ++i) {
      for (std::size_t o = 0; o < 32; ++o) {
        double magnitude = 0;
        for (std::size_t k = 0; k < 256; ++k) magnitude += magnitudes.row(o)[k] * std::abs(x.row(i)[k]);
        if (magnitude > std::numeric_limits<float>::max()) continue;
        ASSERT_NEAR(y.row(i)[o], expected.row(i)[o], rotulus::tests::quantized(256, magnitude)) << to_string(type);
      }
    }
  }
}

TEST_P(Codes, MakeARowWithANaNOrAnInfinityNaNAndNoOther) {
  Random random(5);
  const auto backend = make(1);
  const RandomWeight weight = random_weight(WeightType::q4_1, 40, 128, random);
  const auto packed = backend->pack(weight.source);
  Dense x(8, 128, random);
  const Dense clean = multiply(*backend, Role::prefill, *packed, x.view());
  x.view().row(2)[70] = std::numeric_limits<float>::quiet_NaN();
  x.view().row(5)[3] = -std::numeric_limits<float>::infinity();
  for (const Role role : {Role::prefill, Role::decode}) {
    const Dense y = multiply(*backend, role, *packed, x.view());
    for (std::size_t i = 0; i < 8; ++i) {
      if (i == 2 || i == 5) {
        for (const float value : y.row(i)) EXPECT_TRUE(std::isnan(value));
      } else {
        EXPECT_TRUE(exact(y.row(i), clean.row(i)));
      }
    }
  }
}

// Of weights in float32, any bits are a weight.
TEST_P(Codes, GiveNaNForAWeightThatIsNotFiniteAndForNoOther) {
  Random random(7);
  const auto backend = make(1);
  std::vector<float> weights = random.normals(20 * 64);
  weights[3 * 64 + 40] = std::numeric_limits<float>::quiet_NaN();
  weights[11 * 64 + 5] = std::numeric_limits<float>::infinity();
  const auto packed = backend->pack({WeightType::f32, 20, 64, std::as_bytes(std::span(weights))});
  const Dense x(3, 64, random);
  const Dense y = multiply(*backend, Role::prefill, *packed, x.view());
  for (std::size_t i = 0; i < 3; ++i) {
    for (std::size_t o = 0; o < 20; ++o) EXPECT_EQ(std::isnan(y.row(i)[o]), o == 3 || o == 11);
  }
}

// Float weights whose rows are no whole groups stay in float32.
TEST_P(Codes, LeaveOddFloatWeightsInFloat) {
  Random random(6);
  const auto backend = make(1);
  const auto exactly = make_cpu_backend(GetParam(), 1);
  const RandomWeight weight = random_weight(WeightType::f16, 17, 33, random);
  const Dense x(5, 33, random);
  for (const Role role : {Role::prefill, Role::decode}) {
    EXPECT_TRUE(exact<float>(multiply(*backend, role, *backend->pack(weight.source), x.view()).values,
                             multiply(*exactly, role, *exactly->pack(weight.source), x.view()).values));
  }
}

INSTANTIATE_TEST_SUITE_P(EveryRow, Codes, ::testing::ValuesIn(supported_isas()), isa_name);

}  // namespace
}  // namespace rotulus::kernels::tests
