// rotulus-bench-kernels: the figures of the kernels, one JSON line each, as scripts/bench.sh describes.
//
// A compute figure is one thread's, in CPU time, against the FMA rate of the same thread measured before and after each
// repetition; a memory figure is all threads', in wall time, against their reading rate likewise. Medians.
#include <fmt/format.h>

#include <cstdio>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "benchmarks/kernel_cases.h"
#include "benchmarks/roofline.h"

namespace rotulus::benchmarks {
namespace {

using kernels::Backend;
using kernels::Isa;

constexpr int kRepetitions = 9;

struct Measured {
  double value = 0;
  double limit = 0;
  double share = 0;
};

struct Figure {
  std::string_view name;
  std::string_view unit;
  Measured (*measure)();
};

// Repeats `work`, which does `amount`, between two readings of the limit.
Measured against(const std::function<double()>& limit, const std::function<double()>& clock, double amount,
                 const std::function<void()>& work) {
  work();
  std::vector<double> values;
  std::vector<double> limits;
  std::vector<double> shares;
  double before = limit();
  for (int i = 0; i < kRepetitions; ++i) {
    const double begin = clock();
    work();
    const double value = amount / (clock() - begin);
    const double after = limit();
    values.push_back(value);
    limits.push_back((before + after) / 2);
    shares.push_back(value / limits.back());
    before = after;
  }
  return {median(values) / 1e9, median(limits) / 1e9, median(shares)};
}

Measured dense_prefill() {
  const auto backend = make_cpu_backend(Isa::automatic, 1);
  DenseCase dense(*backend, kernels::WeightType::q4_1, 1, 512);
  return against(fma_flops_per_second, thread_seconds, dense.flops(), [&] { dense.run(kernels::Role::prefill); });
}

std::size_t all_threads() {
  return std::max(1u, std::thread::hardware_concurrency());
}

Measured dense_decode() {
  const auto backend = make_cpu_backend(Isa::automatic, all_threads());
  DenseCase dense(*backend, kernels::WeightType::q4_1, 30, 1);
  ReadBandwidth reading(all_threads());
  return against([&] { return reading.bytes_per_second(); }, wall_seconds, dense.weight_bytes(),
                 [&] { dense.run(kernels::Role::decode); });
}

Measured attention_prefill(AttentionShape shape) {
  const auto backend = make_cpu_backend(Isa::automatic, 1);
  AttentionCase attention(*backend, kernels::KvType::f16, shape);
  return against(fma_flops_per_second, thread_seconds, attention.flops(), [&] { attention.run(); });
}

Measured attention_prefill_d64() {
  return attention_prefill({.query_heads = 9, .kv_heads = 3, .head_dim = 64});
}
Measured attention_prefill_d128() {
  return attention_prefill({.query_heads = 8, .kv_heads = 2, .head_dim = 128});
}

Measured attention_decode() {
  const auto backend = make_cpu_backend(Isa::automatic, all_threads());
  AttentionCase attention(*backend, kernels::KvType::f16, {.tokens = 131072, .rows = 1, .layers = 4});
  ReadBandwidth reading(all_threads());
  return against([&] { return reading.bytes_per_second(); }, wall_seconds, 4 * attention.kv_bytes(),
                 [&] {
                   for (int layer = 0; layer < 4; ++layer) attention.run();
                 });
}

constexpr Figure kFigures[] = {
    {"dense.prefill.q4_1", "GFLOP/s", dense_prefill},
    {"dense.decode.q4_1", "GB/s", dense_decode},
    {"attention.prefill.f32.d64", "GFLOP/s", attention_prefill_d64},
    {"attention.prefill.f32.d128", "GFLOP/s", attention_prefill_d128},
    {"attention.decode.f16", "GB/s", attention_decode},
};

std::string cpu_name() {
  std::string name = "unknown";
  std::FILE* const file = std::fopen("/proc/cpuinfo", "r");
  if (file == nullptr) return name;
  char line[256];
  while (std::fgets(line, sizeof line, file) != nullptr) {
    const std::string_view text(line);
    if (!text.starts_with("model name")) continue;
    const std::size_t begin = text.find(": ");
    if (begin != std::string_view::npos) name = text.substr(begin + 2, text.find('\n') - begin - 2);
    break;
  }
  std::fclose(file);
  return name;
}

void print(const Figure& figure, const Measured& measured, const std::string& cpu) {
  fmt::print(
      "{{\"name\":\"{}\",\"value\":{:.2f},\"unit\":\"{}\",\"limit\":{:.2f},\"share\":{:.3f},\"peer\":null,"
      "\"ratio\":null,\"cpu\":\"{}\"}}\n",
      figure.name, measured.value, figure.unit, measured.limit, measured.share, cpu);
  std::fflush(stdout);
}

struct Arguments {
  bool only_list = false;
  std::vector<std::string_view> prefixes;

  bool wants(std::string_view name) const {
    if (prefixes.empty()) return true;
    for (const std::string_view prefix : prefixes) {
      if (name.starts_with(prefix)) return true;
    }
    return false;
  }
};

// --peer names a program that runs whole models; no figure here has one.
std::optional<Arguments> parse(const std::vector<std::string_view>& words) {
  Arguments arguments;
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (words[i] == "--list") {
      arguments.only_list = true;
    } else if (words[i] == "--peer" && i + 1 < words.size()) {
      ++i;
    } else if (words[i].starts_with("-")) {
      fmt::print(stderr, "usage: rotulus-bench-kernels [NAME…] [--list] [--peer PATH]\n");
      return std::nullopt;
    } else {
      arguments.prefixes.push_back(words[i]);
    }
  }
  return arguments;
}

}  // namespace
}  // namespace rotulus::benchmarks

int main(int argc, char** argv) {
  using namespace rotulus::benchmarks;
  const auto arguments = parse({argv + 1, argv + argc});
  if (!arguments) return 2;
  const std::string cpu = cpu_name();
  for (const Figure& figure : kFigures) {
    if (!arguments->wants(figure.name)) continue;
    if (arguments->only_list) {
      fmt::print("{}\n", figure.name);
    } else {
      print(figure, figure.measure(), cpu);
    }
  }
  return 0;
}
