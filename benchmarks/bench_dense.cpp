// rotulus-bench-dense: the limits of the machine and the figures of dense products (figures.h), on the shapes of a 135M
// and a 1B model.
//
// Prefill is one thread's, in CPU time, against the FMA rate of the same thread; its peer is oneDNN in float32. Decode
// is all threads', in wall time, against what reading the weights or, for many rows, the FMAs would take.
#include <algorithm>
#include <cctype>
#include <memory>
#include <thread>

#include "benchmarks/figures.h"
#include "benchmarks/kernel_cases.h"
#include "benchmarks/onednn_product.h"
#include "benchmarks/roofline.h"

namespace rotulus::benchmarks {
namespace {

using kernels::Isa;
using kernels::Role;
using kernels::WeightType;

constexpr std::size_t kPrefillRows = 512;
constexpr double kDecodeBytes = 128e6;  // of weights at least: several times a last-level cache

constexpr WeightType kTypes[] = {WeightType::f32,  WeightType::f16,    WeightType::bf16,   WeightType::q8_0,
                                 WeightType::q4_0, WeightType::q4_1,   WeightType::q5_0,   WeightType::q5_1,
                                 WeightType::q2_k, WeightType::q3_k,   WeightType::q4_k,   WeightType::q5_k,
                                 WeightType::q6_k, WeightType::iq4_nl, WeightType::iq4_xs, WeightType::mxfp4};

std::size_t all_threads() {
  return std::max(1u, std::thread::hardware_concurrency());
}

Measured prefill(const LayerShape& shape) {
  const auto backend = make_cpu_backend(Isa::automatic, 1);
  DenseCase dense(*backend, shape, WeightType::q4_1, 1, kPrefillRows);
  std::vector<std::function<void()>> peers;
  for (const LayerShape::Product& product : shape.products()) {
    peers.push_back(onednn_product(kPrefillRows, product.inputs, product.outputs));
  }
  std::function<void()> peer;
  if (peers.front()) {
    peer = [&peers] {
      for (const auto& multiply : peers) multiply();
    };
  }
  return measure({.limit = fma_flops_per_second,
                  .clock = thread_seconds,
                  .amount = dense.flops(),
                  .work = [&] { dense.run(Role::prefill); },
                  .peer = peer});
}

Measured decode(const LayerShape& shape, WeightType type, std::size_t rows, std::size_t threads) {
  const auto backend = make_cpu_backend(Isa::automatic, threads);
  const double layer_bytes = DenseCase::weight_bytes(shape, type);
  DenseCase dense(*backend, shape, type, static_cast<std::size_t>(kDecodeBytes / layer_bytes) + 1, rows);
  ReadBandwidth reading(threads);
  const double flops_per_byte = dense.flops() / dense.weight_bytes();
  const auto limit = [&] {
    const double reads = reading.bytes_per_second();
    return std::min(reads, fma_flops_per_second() * static_cast<double>(threads) / flops_per_byte);
  };
  return measure({.limit = limit,
                  .clock = threads == 1 ? thread_seconds : wall_seconds,
                  .amount = dense.weight_bytes(),
                  .work = [&] { dense.run(Role::decode); },
                  .peer = {}});
}

// The limits themselves, for figures that are measured elsewhere.
Measured fma_limit() {
  return {.value = fma_flops_per_second() / 1e9};
}
Measured read_limit(std::size_t threads) {
  ReadBandwidth reading(threads);
  std::vector<double> values;
  for (int i = 0; i < 5; ++i) values.push_back(reading.bytes_per_second());
  return {.value = median(values) / 1e9};
}

std::string lower(std::string_view name) {
  std::string text(name);
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::tolower(c); });
  return text;
}

std::vector<Figure> all_figures() {
  const auto decoding = [](const std::string& name, const LayerShape& shape, WeightType type, std::size_t rows,
                           std::size_t threads) {
    return Figure{"dense.decode." + name, "GB/s", [=] { return decode(shape, type, rows, threads); }};
  };
  std::vector<Figure> figures = {
      {"machine.fma", "GFLOP/s", fma_limit},
      {"machine.read", "GB/s", [] { return read_limit(1); }},
      {"machine.read.threads", "GB/s", [] { return read_limit(all_threads()); }},
      {"dense.f32.135m", "GFLOP/s", [] { return prefill(kShape135M); }},
      {"dense.f32.1b", "GFLOP/s", [] { return prefill(kShape1B); }},
  };
  for (const WeightType type : kTypes) figures.push_back(decoding(lower(to_string(type)), kShape1B, type, 1, 1));
  for (const std::size_t rows : {2u, 4u, 8u, 16u, 32u}) {
    figures.push_back(decoding("q4_k.batch" + std::to_string(rows), kShape1B, WeightType::q4_k, rows, 1));
  }
  figures.push_back(decoding("q4_k.threads", kShape1B, WeightType::q4_k, 1, all_threads()));
  figures.push_back(decoding("q4_1.135m", kShape135M, WeightType::q4_1, 1, 1));
  figures.push_back(decoding("q4_1.135m.threads", kShape135M, WeightType::q4_1, 1, all_threads()));
  return figures;
}

}  // namespace
}  // namespace rotulus::benchmarks

int main(int argc, char** argv) {
  return rotulus::benchmarks::report(argc, argv, rotulus::benchmarks::all_figures());
}
