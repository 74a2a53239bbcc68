#include "benchmarks/roofline.h"

#include <algorithm>
#include <ctime>

namespace rotulus::benchmarks {
namespace {

double seconds(clockid_t clock) {
  timespec now{};
  clock_gettime(clock, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

}  // namespace

double wall_seconds() {
  return seconds(CLOCK_MONOTONIC);
}
double thread_seconds() {
  return seconds(CLOCK_THREAD_CPUTIME_ID);
}

double fma_flops_per_second() {
  return kernels::operations_per_second(kernels::Instruction::fma_f32);
}

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

}  // namespace rotulus::benchmarks
