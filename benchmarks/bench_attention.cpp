// rotulus-bench-attention: the figures of attention (figures.h).
//
// Figures of one thread are in CPU time, those of all threads (`.threads`) in wall time; limits are of as many threads.
#include <algorithm>
#include <thread>

#include "benchmarks/figures.h"
#include "benchmarks/kernel_cases.h"
#include "benchmarks/roofline.h"

namespace rotulus::benchmarks {
namespace {

using kernels::Isa;
using kernels::KvType;

constexpr std::size_t kDecodeLayers = 4;  // taken in turn: more than a last-level cache holds

std::size_t all_threads() {
  return std::max(1u, std::thread::hardware_concurrency());
}

Measured prefill(AttentionShape shape) {
  const auto backend = make_cpu_backend(Isa::automatic, 1);
  AttentionCase attention(*backend, KvType::f16, shape);
  return measure({.limit = fma_flops_per_second,
                  .clock = thread_seconds,
                  .amount = attention.flops(),
                  .work = [&] { attention.run(); },
                  .peer = {}});
}

// How many times as fast all threads are as one; measured in turn.
Measured prefill_threads() {
  const auto alone = make_cpu_backend(Isa::automatic, 1);
  const auto together = make_cpu_backend(Isa::automatic, all_threads());
  AttentionCase of_one(*alone, KvType::f16, {});
  AttentionCase of_all(*together, KvType::f16, {});
  const Measured measured = measure({.limit = fma_flops_per_second,
                                     .clock = wall_seconds,
                                     .amount = of_all.flops(),
                                     .work = [&] { of_all.run(); },
                                     .peer = [&] { of_one.run(); }});
  const auto limit = static_cast<double>(all_threads());
  return {.value = *measured.ratio, .limit = limit, .share = *measured.ratio / limit};
}

// The limit is what the keys and values take to read or the products to compute, whichever is longer.
Measured decode(KvType type, AttentionShape shape, std::size_t threads) {
  const auto backend = make_cpu_backend(Isa::automatic, threads);
  shape.tokens = 131072;
  shape.layers = kDecodeLayers;
  AttentionCase attention(*backend, type, shape);
  ReadBandwidth reading(threads);
  const double flops_per_byte = attention.flops() / attention.kv_bytes();
  return measure({.limit =
                      [&] {
                        const double flops = fma_flops_per_second() * static_cast<double>(threads);
                        return std::min(reading.bytes_per_second(), flops / flops_per_byte);
                      },
                  .clock = threads == 1 ? thread_seconds : wall_seconds,
                  .amount = static_cast<double>(kDecodeLayers) * attention.kv_bytes(),
                  .work =
                      [&] {
                        for (std::size_t layer = 0; layer < kDecodeLayers; ++layer) attention.run();
                      },
                  .peer = {}});
}

std::vector<Figure> all_figures() {
  std::vector<Figure> figures = {
      {"attention.prefill.f32.d64", "GFLOP/s",
       [] { return prefill({.query_heads = 9, .kv_heads = 3, .head_dim = 64}); }},
      {"attention.prefill.f32.d128", "GFLOP/s",
       [] { return prefill({.query_heads = 8, .kv_heads = 2, .head_dim = 128}); }},
      {"attention.prefill.threads", "x", prefill_threads},
  };
  const auto add_decode = [&figures](const std::string& name, KvType type, const AttentionShape& shape) {
    figures.push_back({"attention.decode." + name, "GB/s", [=] { return decode(type, shape, 1); }});
    figures.push_back(
        {"attention.decode." + name + ".threads", "GB/s", [=] { return decode(type, shape, all_threads()); }});
  };
  for (const KvType type : {KvType::f16, KvType::int8, KvType::int4}) {
    add_decode(std::string(to_string(type)), type, {.rows = 1});
  }
  add_decode("batch16", KvType::f16, {.rows = 16});
  add_decode("retrieval", KvType::f16, {.rows = 1, .pages_per_kept = 8});
  return figures;
}

}  // namespace
}  // namespace rotulus::benchmarks

int main(int argc, char** argv) {
  return rotulus::benchmarks::report(argc, argv, rotulus::benchmarks::all_figures());
}
