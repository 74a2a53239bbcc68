#include "worker/model/rope_scaling.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numbers>
#include <optional>
#include <vector>

#include "protocol/error.h"
#include "worker/model/gguf_parser.h"

namespace rotulus::worker {
namespace {

using kernels::Rope;
using protocol::Error;
using protocol::ErrorCode;

constexpr double kBetaFast = 32;  // the defaults of YaRN: turns within the trained window of pairs that stay,
constexpr double kBetaSlow = 1;   // and of pairs that are divided by the whole factor

// How positions are stretched, as the file says.
struct Stretch {
  bool is_yarn = false;
  double factor = 1;
  std::uint32_t trained_window = 0;  // before it was stretched
};

Stretch read_stretch(const ArchitectureKeys& keys, std::uint32_t context_length) {
  constexpr std::string_view kType = "rope.scaling.type";
  const std::string type(keys.contains(kType) ? keys.file().require_string(keys.full_name(kType)) : "linear");
  if (type == "dynamic") {
    keys.refuse(kType, "dynamic NTK scaling",
                "stored keys cannot change with the length of a context: use YaRN, or a factor that is fixed");
  }
  if (type != "none" && type != "linear" && type != "yarn" && type != "longrope") {
    keys.refuse(kType, "RoPE scaling " + quote(type), "use a model with none, linear, yarn or longrope");
  }
  Stretch stretch{.is_yarn = type == "yarn"};
  stretch.trained_window = keys.count("rope.scaling.original_context_length", context_length);
  if (type == "none") return stretch;
  const bool is_old = keys.contains("rope.scale_linear") && !keys.contains("rope.scaling.factor");
  const std::string_view factor = is_old ? "rope.scale_linear" : "rope.scaling.factor";
  stretch.factor = stretch.is_yarn ? keys.positive(factor) : keys.positive(factor, 1.0);
  if (stretch.factor < 1) keys.contradict(factor, fmt::format("{}; it must be 1 or more", stretch.factor));
  if (type == "longrope" && stretch.factor != 1) {
    keys.refuse(factor, "one factor beside the factors of LongRoPE", "convert the model anew");
  }
  return stretch;
}

// The divisors in a tensor of the file; nothing where it has none.
std::vector<double> read_divisors(const GgufFile& file, std::string_view name, std::uint32_t pairs) {
  const GgufTensor* tensor = file.find_tensor(name);
  if (tensor == nullptr) return {};
  if (tensor->shape != std::vector<std::uint64_t>{pairs} || to_string(tensor->type) != "F32") {
    throw Error(ErrorCode::malformed_file,
                fmt::format("tensor {} has shape [{}] and type {}; [{}] and F32 are needed", quote(name),
                            fmt::join(tensor->shape, ", "), to_string(tensor->type), pairs));
  }
  std::vector<float> divisors(pairs);
  std::memcpy(divisors.data(), tensor->bytes.data(), tensor->bytes.size());
  for (const float divisor : divisors) {
    if (std::isfinite(divisor) && divisor > 0) continue;
    throw Error(ErrorCode::malformed_file,
                fmt::format("tensor {} has the factor {}; positive numbers are needed", quote(name), divisor));
  }
  return {divisors.begin(), divisors.end()};
}

// The set of factors that the file has for models of its window.
std::vector<double> choose_divisors(const ArchitectureKeys& keys, const Stretch& stretch, std::uint32_t pairs,
                                    std::uint32_t context_length, std::string& scaling) {
  std::vector<double> plain = read_divisors(keys.file(), kRopeTensors[0], pairs);
  std::vector<double> of_long = read_divisors(keys.file(), kRopeTensors[1], pairs);
  std::vector<double> of_short = read_divisors(keys.file(), kRopeTensors[2], pairs);
  const bool wants_long_rope = keys.file().find_string(keys.full_name("rope.scaling.type")) == "longrope";
  if (of_long.empty() != of_short.empty() || (wants_long_rope && of_long.empty())) {
    throw Error(ErrorCode::malformed_file, fmt::format("LongRoPE needs the tensors {} and {}; one is missing",
                                                       quote(kRopeTensors[1]), quote(kRopeTensors[2])));
  }
  if (!of_long.empty() && !plain.empty()) {
    throw Error(ErrorCode::malformed_file, fmt::format("the tensors {} and {} contradict each other",
                                                       quote(kRopeTensors[0]), quote(kRopeTensors[1])));
  }
  if (!plain.empty()) scaling = "factors";
  if (of_long.empty()) return plain;
  const bool is_long = context_length > stretch.trained_window;
  scaling = is_long ? "longrope long" : "longrope short";
  return is_long ? of_long : of_short;
}

// YaRN: how much of pair j stays as it is, from 1 (fast pairs) to 0 (slow ones). Pair `d` makes `beta` turns within
// the trained window where base^(2d / dims) = window / (2 pi beta).
std::vector<double> yarn_ramp(const ArchitectureKeys& keys, const Rope& rope, std::uint32_t trained_window) {
  const double fast = keys.positive("rope.scaling.yarn_beta_fast", kBetaFast);
  const double slow = keys.positive("rope.scaling.yarn_beta_slow", kBetaSlow);
  const auto pair_of = [&](double beta) {
    return rope.dims * std::log(trained_window / (beta * 2 * std::numbers::pi)) / (2 * std::log(rope.base));
  };
  const double first = std::max(0.0, std::floor(pair_of(fast)));
  const double last = std::min(rope.dims - 1.0, std::ceil(pair_of(slow)));
  std::vector<double> kept(rope.dims / 2);
  for (std::size_t j = 0; j < kept.size(); ++j) {
    kept[j] = 1 - std::clamp((static_cast<double>(j) - first) / std::max(0.001, last - first), 0.0, 1.0);
  }
  return kept;
}

}  // namespace

ScaledRope read_rope(const ArchitectureKeys& keys, kernels::RopePairing pairing, std::uint32_t head_dim,
                     std::uint32_t context_length) {
  ScaledRope result;
  Rope& rope = result.rope;
  rope.dims = keys.count("rope.dimension_count", head_dim);
  rope.base = keys.positive("rope.freq_base", 10000.0);
  rope.pairing = pairing;
  if (rope.dims % 2 != 0 || rope.dims > head_dim) {
    keys.contradict("rope.dimension_count",
                    fmt::format("{}; an even number up to the head dimension {} is needed", rope.dims, head_dim));
  }
  const Stretch stretch = read_stretch(keys, context_length);
  rope.divisors = choose_divisors(keys, stretch, rope.dims / 2, context_length, result.scaling);
  double lengthening = keys.positive("rope.scaling.attn_factor", 1.0);
  if (stretch.factor != 1) {
    const std::vector<double> kept =
        stretch.is_yarn ? yarn_ramp(keys, rope, stretch.trained_window) : std::vector<double>(rope.dims / 2);
    rope.divisors.resize(rope.dims / 2, 1.0);
    for (std::size_t j = 0; j < kept.size(); ++j) rope.divisors[j] /= (1 - kept[j]) / stretch.factor + kept[j];
    if (stretch.is_yarn) lengthening *= 1 + 0.1 * std::log(stretch.factor);
    result.scaling +=
        fmt::format("{}{} {}", result.scaling.empty() ? "" : " ", stretch.is_yarn ? "yarn" : "linear", stretch.factor);
  }
  result.turned_query_scale = static_cast<float>(lengthening * lengthening);
  return result;
}

}  // namespace rotulus::worker
