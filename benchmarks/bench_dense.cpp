// rotulus-bench-dense: the limits of the machine and the figures of dense products (figures.h), on the shapes of a 135M
// and a 1B model.
//
// Prefill is one thread's, in CPU time, against the rate of its arithmetic (float32 FMA, dot product of int8 or bf16)
// on the same thread; its peer is oneDNN in float32, or our own float32. Decode is all threads', in wall time, against
// what reading the weights or, for many rows, that rate would take.
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

using kernels::Arithmetic;
using kernels::Instruction;
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

double rate_of(Arithmetic arithmetic) {
  return kernels::operations_per_second(arithmetic == Arithmetic::int8   ? Instruction::dot_int8
                                        : arithmetic == Arithmetic::bf16 ? Instruction::dot_bf16
                                                                         : Instruction::fma_f32);
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

// Beside our own float32.
Measured fast_prefill(const LayerShape& shape, WeightType type, Arithmetic arithmetic) {
  const auto backend = make_cpu_backend(Isa::automatic, 1, arithmetic);
  const auto exact_backend = make_cpu_backend(Isa::automatic, 1);
  DenseCase dense(*backend, shape, type, 1, kPrefillRows);
  DenseCase exact(*exact_backend, shape, type, 1, kPrefillRows);
  return measure({.limit = [=] { return rate_of(arithmetic); },
                  .clock = thread_seconds,
                  .amount = dense.flops(),
                  .work = [&] { dense.run(Role::prefill); },
                  .peer = [&] { exact.run(Role::prefill); }});
}

struct Decoding {
  LayerShape shape = kShape1B;
  WeightType type = WeightType::q4_k;
  std::size_t rows = 1;
  std::size_t threads = 1;
  Arithmetic arithmetic = Arithmetic::f32;
};

Measured decode(const Decoding& d) {
  const auto backend = make_cpu_backend(Isa::automatic, d.threads, d.arithmetic);
  const double layer_bytes = DenseCase::weight_bytes(d.shape, d.type);
  DenseCase dense(*backend, d.shape, d.type, static_cast<std::size_t>(kDecodeBytes / layer_bytes) + 1, d.rows);
  ReadBandwidth reading(d.threads);
  const double operations_per_byte = dense.flops() / dense.weight_bytes();
  const auto limit = [&] {
    const double reads = reading.bytes_per_second();
    return std::min(reads, rate_of(d.arithmetic) * static_cast<double>(d.threads) / operations_per_byte);
  };
  return measure({.limit = limit,
                  .clock = d.threads == 1 ? thread_seconds : wall_seconds,
                  .amount = dense.weight_bytes(),
                  .work = [&] { dense.run(Role::decode); },
                  .peer = {}});
}

// The limits themselves, for figures that are measured elsewhere.
Measured compute_limit(Instruction instruction) {
  return {.value = kernels::operations_per_second(instruction) / 1e9};
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
  std::vector<Figure> figures = {
      {"machine.fma", "GFLOP/s", [] { return compute_limit(Instruction::fma_f32); }},
      {"machine.bf16", "GFLOP/s", [] { return compute_limit(Instruction::dot_bf16); }},
      {"machine.int8", "Gop/s", [] { return compute_limit(Instruction::dot_int8); }},
      {"machine.read", "GB/s", [] { return read_limit(1); }},
      {"machine.read.threads", "GB/s", [] { return read_limit(all_threads()); }},
      {"dense.f32.135m", "GFLOP/s", [] { return prefill(kShape135M); }},
      {"dense.f32.1b", "GFLOP/s", [] { return prefill(kShape1B); }},
  };
  for (const WeightType type : {WeightType::q4_1, WeightType::q8_0}) {
    for (const auto& [name, shape] : {std::pair{"135m", kShape135M}, std::pair{"1b", kShape1B}}) {
      figures.push_back({std::string("dense.int8.") + name + "." + lower(to_string(type)), "Gop/s",
                         [=, shape = shape] { return fast_prefill(shape, type, Arithmetic::int8); }});
    }
  }
  if (kernels::operations_per_second(Instruction::dot_bf16) > 0) {
    for (const auto& [name, shape] : {std::pair{"135m", kShape135M}, std::pair{"1b", kShape1B}}) {
      figures.push_back({std::string("dense.bf16.") + name, "GFLOP/s",
                         [shape = shape] { return fast_prefill(shape, WeightType::q4_1, Arithmetic::bf16); }});
    }
  }
  const auto decoding = [&figures](const std::string& name, const Decoding& d) {
    figures.push_back({"dense.decode." + name, "GB/s", [=] { return decode(d); }});
  };
  for (const WeightType type : kTypes) decoding(lower(to_string(type)), {.type = type});
  for (const std::size_t rows : {2u, 4u, 8u, 16u, 32u}) decoding("q4_k.batch" + std::to_string(rows), {.rows = rows});
  decoding("q4_k.threads", {.threads = all_threads()});
  decoding("q4_1.135m", {.shape = kShape135M, .type = WeightType::q4_1});
  decoding("q4_1.135m.threads", {.shape = kShape135M, .type = WeightType::q4_1, .threads = all_threads()});
  for (const WeightType type : kTypes) {
    if (type == WeightType::f32 || type == WeightType::f16 || type == WeightType::bf16) continue;
    decoding("int8." + lower(to_string(type)), {.type = type, .arithmetic = Arithmetic::int8});
  }
  for (const std::size_t rows : {4u, 16u}) {
    decoding("int8.q4_k.batch" + std::to_string(rows), {.rows = rows, .arithmetic = Arithmetic::int8});
  }
  decoding("int8.q4_k.threads", {.threads = all_threads(), .arithmetic = Arithmetic::int8});
  decoding("int8.q4_1.135m.threads",
           {.shape = kShape135M, .type = WeightType::q4_1, .threads = all_threads(), .arithmetic = Arithmetic::int8});
  return figures;
}

}  // namespace
}  // namespace rotulus::benchmarks

int main(int argc, char** argv) {
  return rotulus::benchmarks::report(argc, argv, rotulus::benchmarks::all_figures());
}
