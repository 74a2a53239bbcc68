// Products in bf16, where the machine has them: their definition against float64, and the contract.
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <cmath>
#include <stdexcept>

#include "kernels/reference/reference.h"
#include "tests/kernels/fixtures.h"
#include "tests/support/tolerance.h"

namespace rotulus::kernels::tests {
namespace {

using rotulus::tests::exact;

std::unique_ptr<Backend> make(std::size_t threads) {
  return make_cpu_backend(Isa::automatic, threads, Arithmetic::bf16);
}

class Bf16 : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!__builtin_cpu_supports("avx512bf16")) GTEST_SKIP() << "this machine has no dot products of bf16";
  }
};

double rounded(float x) {
  std::uint32_t bits = __builtin_bit_cast(std::uint32_t, x);
  bits += 0x7fff + (bits >> 16 & 1);  // to the nearest, ties to even
  return __builtin_bit_cast(float, bits & 0xffff0000u);
}

TEST_F(Bf16, MultipliesRoundedWeightsByRoundedInputs) {
  Random random(1);
  const auto backend = make(2);
  const auto stream = backend->make_stream();
  for (const WeightType type : kWeightTypes) {
    const bool is_float = type == WeightType::f32 || type == WeightType::f16 || type == WeightType::bf16;
    const std::size_t columns = is_float ? 771 : 768;
    const RandomWeight weight = random_weight(type, 83, columns, random);
    const auto packed = backend->pack(weight.source);
    std::vector<std::uint32_t> ids(83);
    for (std::uint32_t o = 0; o < 83; ++o) ids[o] = o;
    Dense weights(83, columns);
    backend->embed(*stream, weight.source, ids, weights.view());
    const Dense x(15, columns, random);
    const Dense y = multiply(*backend, Role::prefill, *packed, x.view());
    for (std::size_t i = 0; i < 15; ++i) {
      for (std::size_t o = 0; o < 83; ++o) {
        double expected = 0;
        double magnitude = 0;
        for (std::size_t k = 0; k < columns; ++k) {
          const double term = rounded(weights.row(o)[k]) * rounded(x.row(i)[k]);
          expected += term;
          magnitude += std::abs(term);
        }
        ASSERT_NEAR(y.row(i)[o], expected, rotulus::tests::reduction(columns, magnitude)) << to_string(type);
      }
    }
  }
}

TEST_F(Bf16, GivesARowTheSameBitsInAnyCompany) {
  std::vector<std::unique_ptr<Backend>> backends;
  for (std::size_t threads = 1; threads <= 3; ++threads) backends.push_back(make(threads));
  constexpr std::size_t kRows = 200;
  Random random(2);
  const Dense x(kRows, 768, random);
  for (const WeightType type : {WeightType::q4_1, WeightType::f16}) {
    const RandomWeight weight = random_weight(type, 147, 768, random);
    const auto packed = backends[0]->pack(weight.source);
    Dense expected(kRows, 147);
    for (std::size_t i = 0; i < kRows; ++i) {
      const Dense y = multiply(*backends[0], Role::prefill, *packed, x.rows_from(i, 1));
      std::copy(y.values.begin(), y.values.end(), expected.view().row(i));
    }
    const bool held = rc::check(std::string(to_string(type)) + " rows are independent", [&] {
      const auto count = *rc::gen::inRange<std::size_t>(1, kRows + 1);
      const auto first = *rc::gen::inRange<std::size_t>(0, kRows - count + 1);
      const Dense y =
          multiply(*backends[*rc::gen::inRange<std::size_t>(0, 3)], Role::prefill, *packed, x.rows_from(first, count));
      for (std::size_t i = 0; i < count; ++i) RC_ASSERT(exact(y.row(i), expected.row(first + i)));
    });
    EXPECT_TRUE(held);
  }
}

TEST(Bf16Rows, AreRefusedByNameWhereTheyLackTheInstruction) {
  for (const Isa isa : {Isa::scalar, Isa::avx2}) {
    try {
      make_cpu_backend(isa, 1, Arithmetic::bf16);
      ADD_FAILURE() << "nothing was thrown";
    } catch (const std::invalid_argument& refusal) {
      EXPECT_NE(std::string(refusal.what()).find(to_string(isa)), std::string::npos) << refusal.what();
    }
  }
}

}  // namespace
}  // namespace rotulus::kernels::tests
