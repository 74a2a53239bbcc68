// rotulus-bench-attention: the figures of attention (figures.h).
//
// A compute figure is one thread's, in CPU time, against the FMA rate of the same thread; a memory figure is all
// threads', in wall time, against their reading rate.
#include <algorithm>
#include <thread>

#include "benchmarks/figures.h"
#include "benchmarks/kernel_cases.h"
#include "benchmarks/roofline.h"

namespace rotulus::benchmarks {
namespace {

using kernels::Isa;
using kernels::KvType;

Measured prefill(AttentionShape shape) {
  const auto backend = make_cpu_backend(Isa::automatic, 1);
  AttentionCase attention(*backend, KvType::f16, shape);
  return measure({.limit = fma_flops_per_second,
                  .clock = thread_seconds,
                  .amount = attention.flops(),
                  .work = [&] { attention.run(); },
                  .peer = {}});
}

Measured decode(KvType type) {
  constexpr std::size_t kLayers = 4;
  const std::size_t threads = std::max(1u, std::thread::hardware_concurrency());
  const auto backend = make_cpu_backend(Isa::automatic, threads);
  AttentionCase attention(*backend, type, {.tokens = 131072, .rows = 1, .layers = kLayers});
  ReadBandwidth reading(threads);
  return measure({.limit = [&] { return reading.bytes_per_second(); },
                  .clock = wall_seconds,
                  .amount = kLayers * attention.kv_bytes(),
                  .work =
                      [&] {
                        for (std::size_t layer = 0; layer < kLayers; ++layer) attention.run();
                      },
                  .peer = {}});
}

std::vector<Figure> all_figures() {
  return {
      {"attention.prefill.f32.d64", "GFLOP/s",
       [] { return prefill({.query_heads = 9, .kv_heads = 3, .head_dim = 64}); }},
      {"attention.prefill.f32.d128", "GFLOP/s",
       [] { return prefill({.query_heads = 8, .kv_heads = 2, .head_dim = 128}); }},
      {"attention.decode.f16", "GB/s", [] { return decode(KvType::f16); }},
  };
}

}  // namespace
}  // namespace rotulus::benchmarks

int main(int argc, char** argv) {
  return rotulus::benchmarks::report(argc, argv, rotulus::benchmarks::all_figures());
}
