#include "tests/kernels/fixtures.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "kernels/cpu/half.h"

namespace rotulus::kernels::tests {
namespace {

constexpr std::size_t kBlocksPerStripe = kStripeTokens / kBlockTokens;

void put_f16(float value, std::byte* to) {
  const std::uint16_t bits = cpu::float_to_f16(value);
  std::memcpy(to, &bits, sizeof bits);
}

// Overwrites the float scale and minimum of a block, so that weights are about as large as a model's.
void put_scales(WeightType type, Random& random, std::byte* block) {
  switch (type) {
    case WeightType::mxfp4:
      block[0] = static_cast<std::byte>(random.between(119, 127));
      break;
    case WeightType::q2_k:
      put_f16(random.normal() * 0.02f, block + 80);
      put_f16(random.normal() * 0.02f, block + 82);
      break;
    case WeightType::q3_k:
      put_f16(random.normal() * 0.005f, block + 108);
      break;
    case WeightType::q4_k:
    case WeightType::q5_k:
      put_f16(random.normal() * 0.002f, block);
      put_f16(random.normal() * 0.005f, block + 2);
      break;
    case WeightType::q6_k:
      put_f16(random.normal() * 0.0005f, block + 208);
      break;
    case WeightType::iq4_xs:
      put_f16(random.normal() * 0.0005f, block);
      break;
    default:
      put_f16(random.normal() * 0.05f, block);
      if (type == WeightType::q4_1 || type == WeightType::q5_1) put_f16(random.normal() * 0.3f, block + 2);
      break;
  }
}

}  // namespace

std::vector<float> Random::normals(std::size_t count) {
  std::vector<float> values(count);
  for (float& value : values) value = normal();
  return values;
}

std::string isa_name(const ::testing::TestParamInfo<Isa>& info) {
  return to_string(info.param);
}

RandomWeight random_weight(WeightType type, std::size_t rows, std::size_t columns, Random& random) {
  const std::size_t row_bytes = weight_row_bytes(type, columns);
  std::vector<std::byte> bytes(rows * row_bytes);
  if (type == WeightType::f32) {
    const std::vector<float> values = random.normals(rows * columns);
    std::memcpy(bytes.data(), values.data(), bytes.size());
  } else if (type == WeightType::f16) {
    for (std::size_t i = 0; i < rows * columns; ++i) put_f16(random.normal(), bytes.data() + 2 * i);
  } else if (type == WeightType::bf16) {
    for (std::size_t i = 0; i < rows * columns; ++i) {
      const float value = random.normal();
      std::memcpy(bytes.data() + 2 * i, reinterpret_cast<const std::byte*>(&value) + 2, 2);
    }
  } else {
    for (std::byte& byte : bytes) byte = static_cast<std::byte>(random.below(256));
    const std::size_t step = weight_row_bytes(type, weight_block_columns(type));
    for (std::size_t b = 0; b < bytes.size(); b += step) put_scales(type, random, bytes.data() + b);
  }
  RandomWeight weight{{type, rows, columns, {}}, std::move(bytes)};
  weight.source.bytes = weight.bytes;
  return weight;
}

std::uint32_t lane_of_stripe(std::size_t stripe) {
  std::uint32_t lane = 0;
  for (int bit = 0; bit < 8; ++bit) lane |= static_cast<std::uint32_t>(stripe >> bit & 1u) << (7 - bit);
  return lane;
}

Dense multiply(Backend& backend, Role role, const PackedWeight& weight, ConstMatrix x) {
  Dense y(x.rows, weight.rows());
  std::fill(y.values.begin(), y.values.end(), -77.0f);
  const auto stream = backend.make_stream();
  backend.matmul(*stream, role, weight, x, y.view());
  stream->wait();
  return y;
}

StoredContext::StoredContext(Backend& backend, KvFormat format, std::size_t tokens, Random& random)
    : format_(format), tokens_(tokens) {
  const auto stream = backend.make_stream();
  for (std::size_t first = 0; first < tokens; first += kBlockTokens) {
    const std::size_t count = std::min<std::size_t>(kBlockTokens, tokens - first);
    memory_.push_back(backend.allocate(format.block_bytes(), MemoryKind::host));
    const Dense keys(count, std::size_t{format.kv_heads} * format.head_dim, random);
    const Dense values(count, keys.columns, random);
    backend.append(*stream, format, keys.view(), values.view(), 0, memory_.back()->data());
    blocks_.push_back({.data = memory_.back()->data(),
                       .token_count = static_cast<std::uint32_t>(count),
                       .first_position = static_cast<std::int64_t>(first)});
  }
}

void StoredContext::poison_unused(Random& random) {
  const float kinds[] = {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                         -std::numeric_limits<float>::infinity(), 1e30f};
  for (std::size_t token = tokens_; token < blocks_.size() * kBlockTokens; ++token) {
    for (std::uint32_t head = 0; head < format_.kv_heads; ++head) {
      for (std::uint32_t d = 0; d < format_.head_dim; ++d) {
        set_key(token, head, d, kinds[random.below(4)]);
        set_value(token, head, d, kinds[random.below(4)]);
      }
    }
  }
}

void StoredContext::set_key(std::size_t token, std::uint32_t head, std::uint32_t d, float value) {
  std::byte* const block = memory_[token / kBlockTokens]->data();
  const auto panel = static_cast<std::uint32_t>(token % kBlockTokens / kPanelTokens);
  const std::size_t column = token % kPanelTokens;
  set(block + format_.key_offset(head, panel) + d * format_.key_row_bytes(), column,
      block + format_.key_scale_offset(head, panel) + 2 * (d / kScaleChannels * kPanelTokens + column), value);
}

void StoredContext::set_value(std::size_t token, std::uint32_t head, std::uint32_t d, float value) {
  std::byte* const block = memory_[token / kBlockTokens]->data();
  const std::size_t row = token % kBlockTokens;
  set(block + format_.value_offset(head) + row * format_.value_row_bytes(), d,
      block + format_.value_scale_offset(head) + 2 * (d / kScaleChannels * kBlockTokens + row), value);
}

void StoredContext::set(std::byte* row, std::size_t index, std::byte* scale, float value) {
  switch (format_.type) {
    case KvType::f32:
      std::memcpy(row + 4 * index, &value, 4);
      break;
    case KvType::f16:
      put_f16(value, row + 2 * index);
      break;
    case KvType::bf16:
      std::memcpy(row + 2 * index, reinterpret_cast<const std::byte*>(&value) + 2, 2);
      break;
    default:
      put_f16(value, scale);
  }
}

std::vector<Stripe> StoredContext::stripes(LaneSpan span) const {
  std::vector<Stripe> stripes;
  for (std::size_t first = 0; first < blocks_.size(); first += kBlocksPerStripe) {
    const std::uint32_t lane = lane_of_stripe(first / kBlocksPerStripe % 256);
    if (lane < span.first || lane >= span.first + span.size) continue;
    const std::size_t count = std::min(kBlocksPerStripe, blocks_.size() - first);
    stripes.push_back({lane, static_cast<std::uint32_t>(first), static_cast<std::uint32_t>(count)});
  }
  std::stable_sort(stripes.begin(), stripes.end(), [](const Stripe& a, const Stripe& b) { return a.lane < b.lane; });
  return stripes;
}

Question::Question(std::uint32_t query_heads, std::uint32_t head_dim, std::vector<std::int64_t> positions,
                   Random& random)
    : query_heads(query_heads),
      positions(std::move(positions)),
      queries(random.normals(this->positions.size() * query_heads * head_dim)),
      rope{.dims = head_dim, .base = 100000.0, .pairing = RopePairing::neighbours} {}

Answer ask(Backend& backend, StoredContext& context, const Question& question, std::size_t first, std::size_t count,
           std::vector<LaneSpan> nodes) {
  const KvFormat& format = context.format();
  Answer answer;
  std::vector<Partial> parts;
  std::vector<Stripe> stripes;
  for (const LaneSpan& node : nodes) {
    // Whatever the memory holds before: every element must be written.
    answer.out.emplace_back(count * question.query_heads * format.head_dim, -77.0f);
    answer.lse.emplace_back(count * question.query_heads, -77.0f);
    parts.push_back({answer.out.back().data(), answer.lse.back().data()});
    const std::vector<Stripe> of_node = context.stripes(node);
    stripes.insert(stripes.end(), of_node.begin(), of_node.end());
  }
  const auto stream = backend.make_stream();
  backend.attend(*stream, {.format = format,
                           .query_heads = question.query_heads,
                           .rows = count,
                           .queries = question.queries.data() + first * question.query_heads * format.head_dim,
                           .positions = question.positions.data() + first,
                           .rope = question.rope,
                           .scale = 1.0f / std::sqrt(static_cast<float>(format.head_dim)),
                           .window = question.window,
                           .soft_cap = question.soft_cap,
                           .blocks = context.blocks(),
                           .stripes = stripes,
                           .nodes = nodes,
                           .parts = parts});
  stream->wait();
  return answer;
}

Answer ask(Backend& backend, StoredContext& context, const Question& question, std::vector<LaneSpan> nodes) {
  return ask(backend, context, question, 0, question.positions.size(), std::move(nodes));
}

Answer merge_to_root(Backend& backend, const Answer& parts, const std::vector<LaneSpan>& nodes, std::size_t rows,
                     std::uint32_t query_heads, std::uint32_t head_dim) {
  std::vector<ConstPartial> views;
  for (std::size_t n = 0; n < nodes.size(); ++n) views.push_back({parts.out[n].data(), parts.lse[n].data()});
  Answer root;
  root.out.emplace_back(rows * query_heads * head_dim);
  root.lse.emplace_back(rows * query_heads);
  const auto stream = backend.make_stream();
  backend.merge(*stream, {.rows = rows,
                          .query_heads = query_heads,
                          .head_dim = head_dim,
                          .nodes = nodes,
                          .parts = views,
                          .into = {root.out[0].data(), root.lse[0].data()}});
  stream->wait();
  return root;
}

}  // namespace rotulus::kernels::tests
