#include "kernels/rates.h"

#include <gtest/gtest.h>

#include "kernels/backend.h"

namespace rotulus::kernels {
namespace {

// How fast is the machine's business; that an instruction which it has is measured, and one that it lacks is left out,
// is ours.
TEST(MachineRates, MeasureWhatTheMachineHasAndNothingElse) {
  const MachineRates rates = measure_rates(3);
  ASSERT_EQ(rates.operations.size(), std::size(kInstructions));
  const std::string line = to_string(rates);
  for (const Instruction instruction : kInstructions) {
    const bool is_named = line.find(std::string(to_string(instruction)) + "=") != std::string::npos;
    EXPECT_EQ(is_named, rates.operations_of(instruction) > 0) << line;
  }
  EXPECT_EQ(rates.operations_of(Instruction::dot_int8) > 0, __builtin_cpu_supports("avx512vnni") != 0);
  EXPECT_EQ(rates.operations_of(Instruction::dot_bf16) > 0, __builtin_cpu_supports("avx512bf16") != 0);
  if (supported_isas().back() != Isa::scalar) {
    EXPECT_GT(rates.operations_of(Instruction::fma_f32), 0);
  }
}

TEST(MachineRates, ReadWithOneThreadAndTwiceAsManyUpToAll) {
  std::vector<std::size_t> threads;
  for (const MachineRates::Read& read : measure_rates(5).reads) {
    threads.push_back(read.threads);
    EXPECT_GT(read.bytes_per_second, 0);
  }
  EXPECT_EQ(threads, (std::vector<std::size_t>{1, 2, 4, 5}));
}

// Four times the rate is worth it, half is not, and neither is what the row of kernels does not use.
TEST(MachineRates, ProposeAnArithmeticThatGains) {
  MachineRates rates{.operations = {100e9, 200e9, 400e9, 0, 0}, .reads = {}};
  EXPECT_EQ(propose_arithmetic(rates, Isa::automatic), Arithmetic::int8);
  EXPECT_EQ(propose_arithmetic(rates, Isa::avx512), Arithmetic::int8);
  EXPECT_EQ(propose_arithmetic(rates, Isa::avx2), Arithmetic::f32);
  rates.operations[static_cast<std::size_t>(Instruction::dot_int8)] = 50e9;
  EXPECT_EQ(propose_arithmetic(rates, Isa::automatic), Arithmetic::bf16);
  rates.operations[static_cast<std::size_t>(Instruction::dot_bf16)] = 50e9;
  EXPECT_EQ(propose_arithmetic(rates, Isa::automatic), Arithmetic::f32);
  rates.operations.assign(5, 0);
  EXPECT_EQ(propose_arithmetic(rates, Isa::automatic), Arithmetic::f32);
}

}  // namespace
}  // namespace rotulus::kernels
