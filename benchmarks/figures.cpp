#include "benchmarks/figures.h"

#include <fmt/format.h>

#include <cstdio>
#include <string_view>

#include "benchmarks/roofline.h"

namespace rotulus::benchmarks {
namespace {

constexpr int kRepetitions = 9;

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

std::string json(const std::optional<double>& number, int digits) {
  return number ? fmt::format("{:.{}f}", *number, digits) : "null";
}

void print(const Figure& figure, const Measured& measured, const std::string& cpu) {
  fmt::print(
      "{{\"name\":\"{}\",\"value\":{:.2f},\"unit\":\"{}\",\"limit\":{},\"share\":{},\"peer\":{},\"ratio\":{},"
      "\"cpu\":\"{}\"}}\n",
      figure.name, measured.value, figure.unit, json(measured.limit, 2), json(measured.share, 3),
      json(measured.peer, 2), json(measured.ratio, 3), cpu);
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

// --peer names a program that runs whole models; no figure of a C++ program has one.
std::optional<Arguments> parse(const std::vector<std::string_view>& words) {
  Arguments arguments;
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (words[i] == "--list") {
      arguments.only_list = true;
    } else if (words[i] == "--peer" && i + 1 < words.size()) {
      ++i;
    } else if (words[i].starts_with("-")) {
      return std::nullopt;
    } else {
      arguments.prefixes.push_back(words[i]);
    }
  }
  return arguments;
}

}  // namespace

Measured measure(const Repetition& r) {
  r.work();
  if (r.peer) r.peer();
  std::vector<double> values;
  std::vector<double> limits;
  std::vector<double> shares;
  std::vector<double> peers;
  std::vector<double> ratios;
  double before = r.limit();
  for (int i = 0; i < kRepetitions; ++i) {
    double begin = r.clock();
    r.work();
    const double value = r.amount / (r.clock() - begin);
    const double after = r.limit();
    values.push_back(value);
    limits.push_back((before + after) / 2);
    shares.push_back(value / limits.back());
    before = after;
    if (!r.peer) continue;
    begin = r.clock();
    r.peer();
    peers.push_back(r.amount / (r.clock() - begin));
    ratios.push_back(value / peers.back());
    before = r.limit();
  }
  Measured measured{.value = median(values) / 1e9, .limit = median(limits) / 1e9, .share = median(shares)};
  if (r.peer) {
    measured.peer = median(peers) / 1e9;
    measured.ratio = median(ratios);
  }
  return measured;
}

int report(int argc, char** argv, const std::vector<Figure>& figures) {
  const auto arguments = parse({argv + 1, argv + argc});
  if (!arguments) {
    fmt::print(stderr, "usage: {} [NAME…] [--list] [--peer PATH]\n", argv[0]);
    return 2;
  }
  const std::string cpu = cpu_name();
  for (const Figure& figure : figures) {
    if (!arguments->wants(figure.name)) continue;
    if (arguments->only_list) {
      fmt::print("{}\n", figure.name);
    } else {
      print(figure, figure.measure(), cpu);
    }
  }
  return 0;
}

}  // namespace rotulus::benchmarks
