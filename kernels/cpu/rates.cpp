#include "kernels/rates.h"

#include <cpuid.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <new>
#include <thread>

namespace rotulus::kernels {
namespace {

// What the worker reads at its start: most of it lies outside the last-level cache, and zeroing more would take long.
constexpr std::size_t kStartBytes = std::size_t{256} << 20;

double seconds(clockid_t clock) {
  timespec now{};
  clock_gettime(clock, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

#if defined(__x86_64__)

// The loop of number `which`: FMA, dot product of bf16, dot product of int8. 24 chains cover one vector a cycle at a
// latency of up to 24, or two at 12.
__attribute__((target("avx512f"))) void loop_512(std::size_t which, std::size_t iterations) {
  asm volatile(
      "vpxord %%zmm0, %%zmm0, %%zmm0\n"
      ".irp r, 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25\n"
      "vmovaps %%zmm0, %%zmm\\r\n"
      ".endr\n"
      ".irp instruction, vfmadd231ps, vdpbf16ps, vpdpbusd\n"
      "dec %0\n"
      "jns 2f\n"
      "1:\n"
      ".irp r, 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24\n"
      "\\instruction %%zmm0, %%zmm25, %%zmm\\r\n"
      ".endr\n"
      "dec %1\n"
      "jnz 1b\n"
      "jmp 3f\n"
      "2:\n"
      ".endr\n"
      "3:\n"
      : "+r"(which), "+r"(iterations)
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

// Products of whole tiles (16 x 64 bytes by 16 x 64 bytes) into six accumulators: bf16 for `which` 0, int8 for 1.
void tile_loop(std::size_t which, std::size_t iterations) {
  struct alignas(64) {
    std::uint8_t palette = 1;
    std::uint8_t start_row = 0;
    std::uint8_t reserved[14] = {};
    std::uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
  } config;
  static_assert(sizeof config == 64);
  asm volatile(
      "ldtilecfg %2\n"
      ".irp r, 0,1,2,3,4,5,6,7\n"
      "tilezero %%tmm\\r\n"
      ".endr\n"
      ".irp instruction, tdpbf16ps, tdpbssd\n"
      "dec %0\n"
      "jns 2f\n"
      "1:\n"
      ".irp r, 0,1,2,3,4,5\n"
      "\\instruction %%tmm7, %%tmm6, %%tmm\\r\n"
      ".endr\n"
      "dec %1\n"
      "jnz 1b\n"
      "jmp 3f\n"
      "2:\n"
      ".endr\n"
      "3:\n"
      "tilerelease\n"
      : "+r"(which), "+r"(iterations)
      : "m"(config)
      : "cc", "memory");
}

// Linux gives a process the state of the tiles only when it asks (arch_prctl).
bool may_use_tiles(unsigned int feature_bit) {
  constexpr long kRequestState = 0x1023;
  constexpr long kTileData = 18;
  unsigned int a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0 || (d >> feature_bit & 1) == 0) return false;
  return ::syscall(SYS_arch_prctl, kRequestState, kTileData) == 0;
}

bool has(Instruction instruction) {
  constexpr unsigned int kTileBf16Bit = 22;
  constexpr unsigned int kTileInt8Bit = 25;
  switch (instruction) {
    case Instruction::fma_f32:
      return __builtin_cpu_supports("avx512f") || __builtin_cpu_supports("fma");
    case Instruction::dot_bf16:
      return __builtin_cpu_supports("avx512bf16");
    case Instruction::dot_int8:
      return __builtin_cpu_supports("avx512vnni");
    case Instruction::tile_bf16:
      return may_use_tiles(kTileBf16Bit);
    case Instruction::tile_int8:
      return may_use_tiles(kTileInt8Bit);
  }
  return false;
}

// Runs the loop; the operations that it did.
double run_loop(Instruction instruction, std::size_t iterations) {
  const auto times = static_cast<double>(iterations);
  switch (instruction) {
    case Instruction::fma_f32:
      if (!__builtin_cpu_supports("avx512f")) {
        fma_loop_256(iterations);
        return times * 14 * 8 * 2;
      }
      loop_512(0, iterations);
      return times * 24 * 16 * 2;
    case Instruction::dot_bf16:
      loop_512(1, iterations);
      return times * 24 * 32 * 2;
    case Instruction::dot_int8:
      loop_512(2, iterations);
      return times * 24 * 64 * 2;
    case Instruction::tile_bf16:
      tile_loop(0, iterations / 8);
      return times / 8 * 6 * 16 * 16 * 32 * 2;
    case Instruction::tile_int8:
      tile_loop(1, iterations / 8);
      return times / 8 * 6 * 16 * 16 * 64 * 2;
  }
  return 0;
}

#else
#error "the rates have no loops for this architecture yet"
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

// Calls task(begin, end) for equal parts of the words, each on a thread of its own.
template <typename Task>
void on_threads(std::size_t words, std::size_t thread_count, const Task& task) {
  const std::size_t part = words / thread_count / 8 * 8;
  std::vector<std::thread> threads;
  for (std::size_t t = 1; t < thread_count; ++t) threads.emplace_back([=] { task(t * part, (t + 1) * part); });
  task(0, part);
  for (std::thread& thread : threads) thread.join();
}

}  // namespace

std::string_view to_string(Instruction instruction) {
  switch (instruction) {
    case Instruction::fma_f32:
      return "fma_f32";
    case Instruction::dot_bf16:
      return "dot_bf16";
    case Instruction::dot_int8:
      return "dot_int8";
    case Instruction::tile_bf16:
      return "tile_bf16";
    case Instruction::tile_int8:
      return "tile_int8";
  }
  return "?";
}

double operations_per_second(Instruction instruction) {
  if (!has(instruction)) return 0;
  run_loop(instruction, 2000);
  const double begin = seconds(CLOCK_THREAD_CPUTIME_ID);
  const double operations = run_loop(instruction, 200000);
  return operations / (seconds(CLOCK_THREAD_CPUTIME_ID) - begin);
}

ReadBandwidth::ReadBandwidth(std::size_t thread_count, std::size_t bytes) : thread_count_(thread_count) {
  void* const mapping = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapping == MAP_FAILED) throw std::bad_alloc();
  madvise(mapping, bytes, MADV_HUGEPAGE);
  memory_ = {static_cast<std::uint64_t*>(mapping), bytes / sizeof(std::uint64_t)};
  std::fill(memory_.begin(), memory_.end(), 1);
}

ReadBandwidth::~ReadBandwidth() {
  munmap(memory_.data(), memory_.size_bytes());
}

double ReadBandwidth::bytes_per_second(std::size_t thread_count) {
  const clockid_t clock = thread_count == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC;
  const double begin = seconds(clock);
  on_threads(memory_.size(), thread_count, [this](std::size_t first, std::size_t end) {
    const volatile std::uint64_t sink = read_lines(memory_.data() + first, end - first);
    (void)sink;
  });
  return static_cast<double>(memory_.size_bytes()) / (seconds(clock) - begin);
}

MachineRates measure_rates(std::size_t threads) {
  MachineRates rates;
  for (const Instruction instruction : kInstructions) rates.operations.push_back(operations_per_second(instruction));
  ReadBandwidth reading(threads, kStartBytes);
  for (std::size_t count = 1; count < threads; count *= 2) rates.reads.push_back({count, 0});
  rates.reads.push_back({threads, 0});
  for (MachineRates::Read& read : rates.reads) read.bytes_per_second = reading.bytes_per_second(read.threads);
  return rates;
}

Arithmetic propose_arithmetic(const MachineRates& rates, Isa isa) {
  constexpr double kWorthIt = 1.8;
  const bool has_dot = isa == Isa::automatic || isa == Isa::avx512;
  const double worth_it = kWorthIt * rates.operations_of(Instruction::fma_f32);
  const auto gains = [&](Instruction dot) {
    return rates.operations_of(dot) > 0 && rates.operations_of(dot) >= worth_it;
  };
  if (has_dot && gains(Instruction::dot_int8)) return Arithmetic::int8;
  if (has_dot && gains(Instruction::dot_bf16)) return Arithmetic::bf16;
  return Arithmetic::f32;
}

std::string to_string(const MachineRates& rates) {
  std::string text;
  char part[64];
  for (const Instruction instruction : kInstructions) {
    const double operations = rates.operations_of(instruction);
    if (operations == 0) continue;
    std::snprintf(part, sizeof part, "%s=%.0f ", to_string(instruction).data(), operations / 1e9);
    text += part;
  }
  text += "Gop/s a thread, read=";
  for (const MachineRates::Read& read : rates.reads) {
    std::snprintf(part, sizeof part, "%.1fx%zu,", read.bytes_per_second / 1e9, read.threads);
    text += part;
  }
  text.back() = ' ';
  return text + "GB/s";
}

}  // namespace rotulus::kernels
