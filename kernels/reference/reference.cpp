#include "kernels/reference/reference.h"

#include <cmath>
#include <cstring>
#include <limits>

namespace rotulus::kernels::reference {
namespace {

constexpr double kNothing = -std::numeric_limits<double>::infinity();

std::uint16_t bits_at(const std::byte* from) {
  std::uint16_t bits;
  std::memcpy(&bits, from, sizeof bits);
  return bits;
}

double float_at(const std::byte* from) {
  float value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

double decode_bf16(std::uint16_t bits) {
  const std::uint32_t wide = static_cast<std::uint32_t>(bits) << 16;
  float value;
  std::memcpy(&value, &wide, sizeof value);
  return value;
}

// Code `index` of a row, times the f16 scale at `scale` where the type has scales.
double stored(KvType type, const std::byte* row, std::size_t index, const std::byte* scale) {
  switch (type) {
    case KvType::f32:
      return float_at(row + 4 * index);
    case KvType::f16:
      return decode_f16(bits_at(row + 2 * index));
    case KvType::bf16:
      return decode_bf16(bits_at(row + 2 * index));
    case KvType::int8:
      return decode_f16(bits_at(scale)) * static_cast<std::int8_t>(row[index]);
    case KvType::int4: {
      const auto byte = static_cast<unsigned>(row[index / 16 * 8 + index % 8]);
      return decode_f16(bits_at(scale)) * ((index % 16 < 8 ? byte & 15u : byte >> 4) - 7.5);
    }
  }
  return 0;
}

// Adds exp(score) * value to a running sum that is kept relative to its largest score.
struct Softmax {
  double max = kNothing;
  double sum = 0;
  std::vector<double> out;

  void add(double score, const std::vector<double>& value) {
    const double new_max = std::max(max, score);
    const double rescale = max == kNothing ? 0.0 : std::exp(max - new_max);
    const double weight = std::exp(score - new_max);
    sum = sum * rescale + weight;
    for (std::size_t d = 0; d < out.size(); ++d) out[d] = out[d] * rescale + weight * value[d];
    max = new_max;
  }
};

void attend_block(const AttendTask& task, const KvBlock& block, std::size_t row, std::uint32_t head, Softmax& softmax) {
  const KvFormat& format = task.format;
  const std::uint32_t kv_head = head / (task.query_heads / format.kv_heads);
  const float* stored_query = task.queries + (row * task.query_heads + head) * format.head_dim;
  std::vector<double> query(stored_query, stored_query + format.head_dim);
  rotate(task.rope, task.positions[row] - block.shift, query.data());
  const std::uint8_t page_mask = block.head_masks ? block.head_masks[kv_head] : block.page_mask;
  for (std::uint32_t t = 0; t < block.token_count; ++t) {
    if ((page_mask >> (t / kPageTokens) & 1u) == 0) continue;
    const std::int64_t distance = task.positions[row] - block.first_position - t;
    if (distance < 0 || (task.window > 0 && distance >= task.window)) continue;
    double score = 0;
    std::vector<double> value(format.head_dim);
    for (std::uint32_t d = 0; d < format.head_dim; ++d) {
      score += query[d] * stored_key(format, block.data, kv_head, t, d);
      value[d] = stored_value(format, block.data, kv_head, t, d);
    }
    score *= task.scale;
    if (task.soft_cap > 0) score = task.soft_cap * std::tanh(score / task.soft_cap);
    softmax.add(score, value);
  }
}

void store(const Softmax& softmax, std::size_t row_head, Attended& into) {
  if (softmax.max == kNothing) return;
  into.lse[row_head] = softmax.max + std::log(softmax.sum);
  for (std::size_t d = 0; d < softmax.out.size(); ++d) {
    into.out[row_head * softmax.out.size() + d] = softmax.out[d] / softmax.sum;
  }
}

}  // namespace

double decode_f16(std::uint16_t bits) {
  const int exponent = bits >> 10 & 31;
  const int mantissa = bits & 1023;
  const double sign = bits & 0x8000 ? -1.0 : 1.0;
  if (exponent == 31) return mantissa != 0 ? std::numeric_limits<double>::quiet_NaN() : sign * HUGE_VAL;
  if (exponent == 0) return sign * std::ldexp(mantissa, -24);
  return sign * std::ldexp(1024 + mantissa, exponent - 25);
}

Table matmul(const WeightSource& weight, ConstMatrix x) {
  const Table w = dequantize(weight);
  Table y(x.rows, w.rows);
  for (std::size_t i = 0; i < x.rows; ++i) {
    for (std::size_t o = 0; o < w.rows; ++o) {
      for (std::size_t k = 0; k < w.columns; ++k) y.row(i)[o] += w.row(o)[k] * x.row(i)[k];
    }
  }
  return y;
}

Table norm(ConstMatrix x, std::span<const float> weight, double epsilon) {
  Table y(x.rows, x.columns);
  for (std::size_t i = 0; i < x.rows; ++i) {
    double squares = 0;
    for (std::size_t k = 0; k < x.columns; ++k) squares += static_cast<double>(x.row(i)[k]) * x.row(i)[k];
    const double root = std::sqrt(squares / static_cast<double>(x.columns) + epsilon);
    for (std::size_t k = 0; k < x.columns; ++k) y.row(i)[k] = x.row(i)[k] / root * weight[k];
  }
  return y;
}

Table soft_cap(double cap, ConstMatrix x) {
  Table y(x.rows, x.columns);
  for (std::size_t i = 0; i < x.rows; ++i) {
    for (std::size_t k = 0; k < x.columns; ++k) y.row(i)[k] = cap * std::tanh(x.row(i)[k] / cap);
  }
  return y;
}

Table silu_multiply(ConstMatrix gate, ConstMatrix up) {
  Table y(gate.rows, gate.columns);
  for (std::size_t i = 0; i < gate.rows; ++i) {
    for (std::size_t k = 0; k < gate.columns; ++k) {
      const double g = gate.row(i)[k];
      y.row(i)[k] = g / (1.0 + std::exp(-g)) * up.row(i)[k];
    }
  }
  return y;
}

Table gelu_multiply(ConstMatrix gate, ConstMatrix up) {
  Table y(gate.rows, gate.columns);
  for (std::size_t i = 0; i < gate.rows; ++i) {
    for (std::size_t k = 0; k < gate.columns; ++k) {
      const double g = gate.row(i)[k];
      const double u = std::sqrt(2 / std::acos(-1.0)) * (g + 0.044715 * g * g * g);
      y.row(i)[k] = g / (1.0 + std::exp(-2 * u)) * up.row(i)[k];  // (1 + tanh u) / 2 without its cancellation
    }
  }
  return y;
}

void rotate(const Rope& rope, std::int64_t position, double* head) {
  for (std::uint32_t j = 0; j < rope.dims / 2; ++j) {
    const bool neighbours = rope.pairing == RopePairing::neighbours;
    double& a = head[neighbours ? 2 * j : j];
    double& b = head[neighbours ? 2 * j + 1 : j + rope.dims / 2];
    const double divisor = rope.divisors.empty() ? 1.0 : rope.divisors[j];
    const double angle = static_cast<double>(position) * std::pow(rope.base, -2.0 * j / rope.dims) / divisor;
    const double turned = a * std::cos(angle) - b * std::sin(angle);
    b = a * std::sin(angle) + b * std::cos(angle);
    a = turned;
  }
}

double stored_key(const KvFormat& format, const std::byte* block, std::uint32_t head, std::uint32_t token,
                  std::uint32_t d) {
  const std::uint32_t panel = token / kPanelTokens;
  const std::uint32_t column = token % kPanelTokens;
  return stored(format.type, block + format.key_offset(head, panel) + d * format.key_row_bytes(), column,
                block + format.key_scale_offset(head, panel) + 2 * (d / kScaleChannels * kPanelTokens + column));
}

double stored_value(const KvFormat& format, const std::byte* block, std::uint32_t head, std::uint32_t token,
                    std::uint32_t d) {
  return stored(format.type, block + format.value_offset(head) + token * format.value_row_bytes(), d,
                block + format.value_scale_offset(head) + 2 * (d / kScaleChannels * kBlockTokens + token));
}

Attended attend(const AttendTask& task, LaneSpan node) {
  const std::size_t row_heads = task.rows * task.query_heads;
  Attended into{std::vector<double>(row_heads * task.format.head_dim), std::vector<double>(row_heads, kNothing)};
  for (std::size_t row = 0; row < task.rows; ++row) {
    for (std::uint32_t head = 0; head < task.query_heads; ++head) {
      Softmax softmax;
      softmax.out.resize(task.format.head_dim);
      for (const Stripe& stripe : task.stripes) {
        if (stripe.lane < node.first || stripe.lane >= node.first + node.size) continue;
        for (const KvBlock& block : task.blocks.subspan(stripe.first_block, stripe.block_count)) {
          attend_block(task, block, row, head, softmax);
        }
      }
      store(softmax, row * task.query_heads + head, into);
    }
  }
  return into;
}

Attended merge(const MergeTask& task) {
  const std::size_t row_heads = task.rows * task.query_heads;
  const std::size_t dim = task.head_dim;
  Attended into{std::vector<double>(row_heads * dim), std::vector<double>(row_heads, kNothing)};
  std::vector<ConstPartial> parts(task.parts.begin(), task.parts.end());
  if (task.tail.out != nullptr) parts.push_back(task.tail);
  for (std::size_t i = 0; i < row_heads; ++i) {
    Softmax softmax;
    softmax.out.resize(dim);
    for (const ConstPartial& part : parts) {
      if (part.lse[i] == -std::numeric_limits<float>::infinity()) continue;
      softmax.add(part.lse[i], std::vector<double>(part.out + i * dim, part.out + (i + 1) * dim));
    }
    if (task.sink_logits != nullptr && task.sink_logits[i % task.query_heads] != kNothing) {
      softmax.add(task.sink_logits[i % task.query_heads], std::vector<double>(dim));
    }
    store(softmax, i, into);
  }
  return into;
}

}  // namespace rotulus::kernels::reference
