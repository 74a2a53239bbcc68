#include "benchmarks/roofline.h"

#include <sys/mman.h>

#include <algorithm>
#include <ctime>
#include <new>
#include <thread>

namespace rotulus::benchmarks {
namespace {

// Past the last-level cache of the hosts we know (32 to 260 MiB).
constexpr std::size_t kReadBytes = std::size_t{512} << 20;

double seconds(clockid_t clock) {
  timespec now{};
  clock_gettime(clock, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

#if defined(__x86_64__)

// In assembly: written with intrinsics over an array, compilers have spilled the accumulators, and every share of such
// a limit looks too good. 24 chains cover 2 FMAs a cycle at a latency of up to 12 cycles.
__attribute__((target("avx512f"))) void fma_loop_512(std::size_t iterations) {
  asm volatile(
      "vpxord %%zmm0, %%zmm0, %%zmm0\n"
      ".irp r, 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25\n"
      "vmovaps %%zmm0, %%zmm\\r\n"
      ".endr\n"
      "1:\n"
      ".irp r, 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24\n"
      "vfmadd231ps %%zmm0, %%zmm25, %%zmm\\r\n"
      ".endr\n"
      "dec %0\n"
      "jnz 1b\n"
      : "+r"(iterations)
      :
      : "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12",
        "xmm13", "xmm14", "xmm15", "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", "xmm23", "xmm24",
        "xmm25");
}

// 16 registers only: 14 chains are enough for a latency of 7.
__attribute__((target("avx,fma"))) void fma_loop_256(std::size_t iterations) {
  asm volatile(
      "vxorps %%ymm0, %%ymm0, %%ymm0\n"
      ".irp r, 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n"
      "vmovaps %%ymm0, %%ymm\\r\n"
      ".endr\n"
      "1:\n"
      ".irp r, 1,2,3,4,5,6,7,8,9,10,11,12,13,14\n"
      "vfmadd231ps %%ymm0, %%ymm15, %%ymm\\r\n"
      ".endr\n"
      "dec %0\n"
      "jnz 1b\n"
      : "+r"(iterations)
      :
      : "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12",
        "xmm13", "xmm14", "xmm15");
}

double flops_of_loop(std::size_t iterations) {
  if (__builtin_cpu_supports("avx512f")) {
    fma_loop_512(iterations);
    return static_cast<double>(iterations) * 24 * 16 * 2;
  }
  fma_loop_256(iterations);
  return static_cast<double>(iterations) * 14 * 8 * 2;
}

#else
#error "the roofline has no loop for this architecture yet"
#endif

// Sums of whole lines, for whatever vectors the compiler has; unrolled by hand, because a loop over an array of sums
// was once compiled with the sums in memory and showed two thirds of the truth.
std::uint64_t read_lines(const std::uint64_t* from, std::size_t words) {
  using Words = std::uint64_t __attribute__((vector_size(16)));
  const auto* at = reinterpret_cast<const Words*>(from);
  Words a{};
  Words b{};
  Words c{};
  Words d{};
  for (const Words* const end = at + words / 2; at < end; at += 4) {
    __builtin_prefetch(at + 256);  // 4 KiB ahead
    a += at[0];
    b += at[1];
    c += at[2];
    d += at[3];
  }
  const Words sum = a + b + c + d;
  return sum[0] + sum[1];
}

}  // namespace

double wall_seconds() {
  return seconds(CLOCK_MONOTONIC);
}
double thread_seconds() {
  return seconds(CLOCK_THREAD_CPUTIME_ID);
}

double fma_flops_per_second() {
  flops_of_loop(2000);
  const double begin = thread_seconds();
  const double flops = flops_of_loop(200000);
  return flops / (thread_seconds() - begin);
}

ReadBandwidth::ReadBandwidth(std::size_t thread_count) : thread_count_(thread_count) {
  void* const mapping = mmap(nullptr, kReadBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapping == MAP_FAILED) throw std::bad_alloc();
  madvise(mapping, kReadBytes, MADV_HUGEPAGE);
  memory_ = {static_cast<std::uint64_t*>(mapping), kReadBytes / sizeof(std::uint64_t)};
  std::fill(memory_.begin(), memory_.end(), 1);
}

ReadBandwidth::~ReadBandwidth() {
  munmap(memory_.data(), memory_.size_bytes());
}

double ReadBandwidth::bytes_per_second() {
  if (thread_count_ == 1) {
    const double begin = thread_seconds();
    const std::uint64_t sum = read_lines(memory_.data(), memory_.size());
    const double elapsed = thread_seconds() - begin;
    const volatile std::uint64_t sink = sum;
    (void)sink;
    return static_cast<double>(memory_.size() * sizeof(std::uint64_t)) / elapsed;
  }
  const std::size_t words = memory_.size() / thread_count_ / 8 * 8;
  std::vector<std::uint64_t> sums(thread_count_);
  std::vector<std::thread> threads;
  const double begin = wall_seconds();
  for (std::size_t t = 0; t < thread_count_; ++t) {
    threads.emplace_back([&, t] { sums[t] = read_lines(memory_.data() + t * words, words); });
  }
  for (std::thread& thread : threads) thread.join();
  const double elapsed = wall_seconds() - begin;
  volatile std::uint64_t sink = 0;
  for (const std::uint64_t sum : sums) sink = sink + sum;
  return static_cast<double>(words * sizeof(std::uint64_t) * thread_count_) / elapsed;
}

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

}  // namespace rotulus::benchmarks
