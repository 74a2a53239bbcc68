// The kernels in the sizes in which steps meet them. For shares of the machine's limits see bench_dense.cpp and
// bench_attention.cpp.
#include <benchmark/benchmark.h>

#include "benchmarks/kernel_cases.h"

namespace rotulus::benchmarks {
namespace {

using kernels::Isa;
using kernels::KvType;
using kernels::Role;
using kernels::WeightType;

// Arguments: rows, threads.
void dense_prefill(benchmark::State& state, WeightType type) {
  const auto backend = make_cpu_backend(Isa::automatic, static_cast<std::size_t>(state.range(1)));
  DenseCase dense(*backend, kShape135M, type, 2, static_cast<std::size_t>(state.range(0)));
  for (auto _ : state) dense.run(Role::prefill);
  state.counters["flops"] = benchmark::Counter(dense.flops(), benchmark::Counter::kIsIterationInvariantRate);
}
BENCHMARK_CAPTURE(dense_prefill, q4_1, WeightType::q4_1)->UseRealTime()->ArgsProduct({{32, 128, 512}, {1, 2}});
BENCHMARK_CAPTURE(dense_prefill, f32, WeightType::f32)->UseRealTime()->ArgsProduct({{512}, {1, 2}});

// All 30 layers: more than a last-level cache holds. Arguments: rows, threads.
void dense_decode(benchmark::State& state, WeightType type) {
  const auto backend = make_cpu_backend(Isa::automatic, static_cast<std::size_t>(state.range(1)));
  DenseCase dense(*backend, kShape135M, type, 30, static_cast<std::size_t>(state.range(0)));
  for (auto _ : state) dense.run(Role::decode);
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(dense.weight_bytes()));
}
BENCHMARK_CAPTURE(dense_decode, q4_1, WeightType::q4_1)->UseRealTime()->ArgsProduct({{1, 2, 4, 8}, {1, 2}});
BENCHMARK_CAPTURE(dense_decode, q8_0, WeightType::q8_0)->UseRealTime()->ArgsProduct({{1}, {1, 2}});

// Arguments: tokens, rows, threads.
void attention_prefill(benchmark::State& state, KvType type) {
  const auto backend = make_cpu_backend(Isa::automatic, static_cast<std::size_t>(state.range(2)));
  AttentionCase attention(
      *backend, type,
      {.tokens = static_cast<std::size_t>(state.range(0)), .rows = static_cast<std::size_t>(state.range(1))});
  for (auto _ : state) attention.run();
  state.counters["flops"] = benchmark::Counter(attention.flops(), benchmark::Counter::kIsIterationInvariantRate);
}
BENCHMARK_CAPTURE(attention_prefill, f16, KvType::f16)
    ->UseRealTime()
    ->ArgsProduct({{512, 4096, 8192}, {32, 256}, {1, 2}});
BENCHMARK_CAPTURE(attention_prefill, f32, KvType::f32)->UseRealTime()->ArgsProduct({{4096}, {256}, {1, 2}});

// Four layers in turn, so that 8192 tokens and more come from memory. Arguments: tokens, threads.
void attention_decode(benchmark::State& state, KvType type) {
  const auto backend = make_cpu_backend(Isa::automatic, static_cast<std::size_t>(state.range(1)));
  AttentionCase attention(*backend, type, {.tokens = static_cast<std::size_t>(state.range(0)), .rows = 1, .layers = 4});
  for (auto _ : state) attention.run();
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(attention.kv_bytes()));
}
BENCHMARK_CAPTURE(attention_decode, f16, KvType::f16)->UseRealTime()->ArgsProduct({{512, 8192, 65536}, {1, 2}});

}  // namespace
}  // namespace rotulus::benchmarks
