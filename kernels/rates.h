// What this machine can do, measured: the limits that figures are a share of, and what `--arithmetic auto` is chosen
// from. CPUs differ too much to know it from their names: dot products of bf16 run at half the rate of float32 FMAs on
// one, at twice on another.
//
// The loops are in assembly. Written with intrinsics over an array, compilers have spilled the accumulators, and every
// share of such a limit looks too good.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "kernels/backend.h"

namespace rotulus::kernels {

// Of the widest kind that this machine has. The tiles are those of AMX.
enum class Instruction : std::uint8_t { fma_f32, dot_bf16, dot_int8, tile_bf16, tile_int8 };
inline constexpr Instruction kInstructions[] = {Instruction::fma_f32, Instruction::dot_bf16, Instruction::dot_int8,
                                                Instruction::tile_bf16, Instruction::tile_int8};
std::string_view to_string(Instruction instruction);

// Operations (two for each product that is added) of one thread in a second of its CPU time, everything in registers;
// 0 where this machine lacks the instruction. Takes a few milliseconds.
double operations_per_second(Instruction instruction);

// Reads memory that no cache holds, all threads at once, each its own part, one stream with software prefetch. In huge
// pages, as weights and keys lie: small ones show half of the limit.
class ReadBandwidth final {
 public:
  static constexpr std::size_t kBytes = std::size_t{512} << 20;  // past the last-level cache of the hosts we know

  // Throws std::bad_alloc.
  explicit ReadBandwidth(std::size_t thread_count, std::size_t bytes = kBytes);
  ~ReadBandwidth();
  ReadBandwidth(const ReadBandwidth&) = delete;
  ReadBandwidth& operator=(const ReadBandwidth&) = delete;

  // One pass over the memory, in wall time; in the caller's CPU time where it is alone.
  double bytes_per_second() { return bytes_per_second(thread_count_); }
  double bytes_per_second(std::size_t thread_count);

 private:
  std::size_t thread_count_;
  std::span<std::uint64_t> memory_;
};

struct MachineRates {
  struct Read {
    std::size_t threads = 0;
    double bytes_per_second = 0;
  };
  std::vector<double> operations;  // per second and thread, by Instruction
  std::vector<Read> reads;         // of 1, 2, 4 … and `threads` threads

  double operations_of(Instruction instruction) const { return operations[static_cast<std::size_t>(instruction)]; }
};

// Takes a fraction of a second, and memory for as long. Throws std::bad_alloc.
MachineRates measure_rates(std::size_t threads);

// int8, or else bf16, where its dot products are so much faster than float32 that the whole of a product gains; f32
// otherwise.
Arithmetic propose_arithmetic(const MachineRates& rates, Isa isa);

// One line for a log: "fma_f32=117 dot_bf16=233 … Gop/s a thread, read=29.2x1,31.2x2 GB/s".
std::string to_string(const MachineRates& rates);

}  // namespace rotulus::kernels
