#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <cmath>

#include "kernels/reference/reference.h"
#include "tests/kernels/fixtures.h"
#include "tests/support/tolerance.h"

namespace rotulus::kernels::tests {
namespace {

using rotulus::tests::exact;

class Matmul : public ::testing::TestWithParam<Isa> {};

// The sum over k of the magnitudes of the terms of one output, as the family `quantized` counts them.
double magnitude(const reference::Table& weights, std::size_t output, std::span<const float> x) {
  double sum = 0;
  for (std::size_t k = 0; k < weights.columns; ++k) sum += weights.row(output)[k] * std::abs(x[k]);
  return sum;
}

TEST_P(Matmul, AgreesWithTheReferenceForEveryWeightTypeAndRole) {
  Random random(1);
  const auto backend = make_cpu_backend(GetParam(), 2);
  for (const WeightType type : kWeightTypes) {
    const RandomWeight weight = random_weight(type, 83, 768, random);
    const auto packed = backend->pack(weight.source);
    const Dense x(9, 768, random);
    const reference::Table magnitudes = reference::magnitudes(weight.source);
    const reference::Table expected = reference::matmul(weight.source, x.view());
    for (const Role role : {Role::prefill, Role::decode}) {
      const Dense y = multiply(*backend, role, *packed, x.view());
      for (std::size_t i = 0; i < y.rows; ++i) {
        for (std::size_t o = 0; o < y.columns; ++o) {
          const double tolerance = rotulus::tests::quantized(768, magnitude(magnitudes, o, x.row(i)));
          ASSERT_NEAR(y.row(i)[o], expected.row(i)[o], tolerance) << to_string(type) << " row " << i << " output " << o;
        }
      }
    }
  }
}

TEST_P(Matmul, HandlesOddOutputsAndOddInputs) {
  Random random(2);
  const auto backend = make_cpu_backend(GetParam(), 2);
  for (const WeightType type : {WeightType::f32, WeightType::f16, WeightType::bf16}) {
    for (const std::size_t rows : {1u, 15u, 17u, 63u, 65u, 130u}) {
      for (const std::size_t columns : {1u, 31u, 33u, 515u}) {
        const RandomWeight weight = random_weight(type, rows, columns, random);
        const auto packed = backend->pack(weight.source);
        const Dense x(7, columns, random);
        const reference::Table magnitudes = reference::magnitudes(weight.source);
        const reference::Table expected = reference::matmul(weight.source, x.view());
        for (const Role role : {Role::prefill, Role::decode}) {
          const Dense y = multiply(*backend, role, *packed, x.view());
          for (std::size_t i = 0; i < y.rows; ++i) {
            for (std::size_t o = 0; o < rows; ++o) {
              const double tolerance = rotulus::tests::reduction(columns, magnitude(magnitudes, o, x.row(i)));
              ASSERT_NEAR(y.row(i)[o], expected.row(i)[o], tolerance) << to_string(type) << rows << "x" << columns;
            }
          }
        }
      }
    }
  }
}

// Models have tokens with one activation thousands of times the others. Every addition behind it costs a rounding of
// the large sum: about 0.4 u sqrt(additions) of it, 16 u for one chain of 1,536 inputs, 5 u for runs of 128.
TEST_P(Matmul, LosesFewRoundingsBehindAMassiveActivation) {
  constexpr std::size_t kInputs = 1536;
  constexpr std::size_t kOutputs = 512;
  constexpr float kMassive = 30000.0f;
  Random random(5);
  const auto backend = make_cpu_backend(GetParam(), 2);
  Dense x(1, kInputs, random);
  x.view().row(0)[0] = kMassive;
  for (const WeightType type : kWeightTypes) {
    const RandomWeight weight = random_weight(type, kOutputs, kInputs, random);
    const auto packed = backend->pack(weight.source);
    const reference::Table expected = reference::matmul(weight.source, x.view());
    for (const Role role : {Role::prefill, Role::decode}) {
      const Dense y = multiply(*backend, role, *packed, x.view());
      double squares = 0;
      double expected_squares = 0;
      for (std::size_t o = 0; o < kOutputs; ++o) {
        squares += std::pow(y.row(0)[o] - expected.row(0)[o], 2);
        expected_squares += std::pow(expected.row(0)[o], 2);
      }
      EXPECT_LT(std::sqrt(squares / expected_squares), 8 * rotulus::tests::kUnitRoundoff) << to_string(type);
    }
  }
}

// The contract of the whole system: the bits of a row are those of the row alone.
TEST_P(Matmul, GivesARowTheSameBitsInAnyCompany) {
  const auto alone = make_cpu_backend(GetParam(), 1);
  std::vector<std::unique_ptr<Backend>> backends;
  for (std::size_t threads = 1; threads <= 4; ++threads) backends.push_back(make_cpu_backend(GetParam(), threads));
  // Over 512 the panel of a prefill is cut in two; the scalar row is too slow for it.
  const std::size_t columns = GetParam() == Isa::scalar ? 256 : 768;
  Random random(3);
  const Dense x(512, columns, random);
  for (const WeightType type : kWeightTypes) {
    const RandomWeight weight = random_weight(type, 147, columns, random);
    const auto packed = alone->pack(weight.source);
    for (const Role role : {Role::prefill, Role::decode}) {
      Dense expected(512, 147);
      for (std::size_t i = 0; i < 512; ++i) {
        const Dense y = multiply(*alone, role, *packed, x.rows_from(i, 1));
        std::copy(y.values.begin(), y.values.end(), expected.view().row(i));
      }
      const bool held = rc::check(std::string(to_string(type)) + " rows are independent", [&] {
        const auto count = *rc::gen::weightedOneOf<std::size_t>(
            {{3, rc::gen::inRange<std::size_t>(1, 33)}, {1, rc::gen::inRange<std::size_t>(33, 513)}});
        const auto first = *rc::gen::inRange<std::size_t>(0, 512 - count + 1);
        Backend& backend = *backends[*rc::gen::inRange<std::size_t>(0, 4)];
        const Dense y = multiply(backend, role, *packed, x.rows_from(first, count));
        for (std::size_t i = 0; i < count; ++i) RC_ASSERT(exact(y.row(i), expected.row(first + i)));
      });
      EXPECT_TRUE(held);
      EXPECT_TRUE(exact<float>(multiply(*backends[3], role, *packed, x.view()).values, expected.values));
    }
  }
}

TEST_P(Matmul, LeavesTheSpaceBetweenStridedRowsAlone) {
  Random random(4);
  const auto backend = make_cpu_backend(GetParam(), 2);
  const RandomWeight weight = random_weight(WeightType::q4_1, 70, 64, random);
  const auto packed = backend->pack(weight.source);
  const Dense wide_x(8, 100, random);
  const ConstMatrix x{wide_x.values.data(), 8, 64, 100};
  Dense narrow_x(8, 64);
  for (std::size_t i = 0; i < 8; ++i) std::copy_n(x.row(i), 64, narrow_x.view().row(i));
  for (const Role role : {Role::prefill, Role::decode}) {
    const Dense expected = multiply(*backend, role, *packed, narrow_x.view());
    std::vector<float> wide_y(8 * 90, 5.0f);
    const auto stream = backend->make_stream();
    backend->matmul(*stream, role, *packed, x, {wide_y.data(), 8, 70, 90});
    for (std::size_t i = 0; i < 8; ++i) {
      EXPECT_TRUE(exact(std::span<const float>(wide_y).subspan(i * 90, 70), expected.row(i)));
      for (std::size_t o = 70; o < 90; ++o) EXPECT_EQ(wide_y[i * 90 + o], 5.0f);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(EveryRow, Matmul, ::testing::ValuesIn(supported_isas()), isa_name);

}  // namespace
}  // namespace rotulus::kernels::tests
