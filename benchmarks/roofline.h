// The limits of this machine, measured: what the figures of the kernels are a share of.
//
// A limit and the figure it divides are taken in the same run, alternating, because the clock of a shared machine
// moves.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace rotulus::benchmarks {

// Seconds. thread_seconds counts the calling thread's CPU time only, so other processes do not disturb it.
double wall_seconds();
double thread_seconds();

// float32 FMA operations (2 flop per lane) of one thread in a second of its CPU time: 24 independent accumulators in
// registers of the widest kind. Takes about 2 ms.
double fma_flops_per_second();

// Reads memory that no cache holds, all threads at once, each its own part, one stream with software prefetch. In huge
// pages, as weights and keys lie: small ones show half of the limit.
class ReadBandwidth final {
 public:
  explicit ReadBandwidth(std::size_t thread_count);
  ~ReadBandwidth();
  ReadBandwidth(const ReadBandwidth&) = delete;
  ReadBandwidth& operator=(const ReadBandwidth&) = delete;
  double bytes_per_second();  // one pass over the memory, in wall time; in the caller's CPU time where it is alone

 private:
  std::size_t thread_count_;
  std::span<std::uint64_t> memory_;
};

double median(std::vector<double> values);

}  // namespace rotulus::benchmarks
