#include "benchmarks/kernel_cases.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <random>

namespace rotulus::benchmarks {
namespace {

using kernels::kBlockPages;
using kernels::kBlockTokens;
using kernels::kPageTokens;
using kernels::kPanelTokens;
using kernels::kStripeTokens;

std::vector<float> noise(std::size_t count) {
  std::mt19937 engine(7);
  std::uniform_real_distribution<float> uniform(-1, 1);
  std::vector<float> values(count);
  for (float& value : values) value = uniform(engine);
  return values;
}

// Any bits are a weight; the f16 scales are kept finite.
std::vector<std::byte> random_bytes(kernels::WeightType type, std::size_t bytes) {
  std::mt19937_64 engine(11);
  std::vector<std::byte> data(bytes);
  for (std::size_t i = 0; i + 8 <= bytes; i += 8) {
    const std::uint64_t word = engine() & 0xbbffbbffbbffbbffull;
    std::memcpy(data.data() + i, &word, 8);
  }
  if (type == kernels::WeightType::f32) std::memset(data.data(), 0, bytes);
  return data;
}

std::uint32_t lane_of_stripe(std::size_t stripe) {
  std::uint32_t lane = 0;
  for (int bit = 0; bit < 8; ++bit) lane |= static_cast<std::uint32_t>(stripe >> bit & 1u) << (7 - bit);
  return lane;
}

}  // namespace

DenseCase::DenseCase(kernels::Backend& backend, const LayerShape& shape, kernels::WeightType type, std::size_t layers,
                     std::size_t rows)
    : backend_(backend),
      stream_(backend.make_stream()),
      rows_(rows),
      x_(noise(rows * shape.feed_forward)),
      y_(rows * shape.feed_forward),
      weight_bytes_(static_cast<double>(layers) * weight_bytes(shape, type)) {
  for (std::size_t layer = 0; layer < layers; ++layer) {
    for (const auto& [inputs, outputs] : shape.products()) {
      const std::vector<std::byte> bytes = random_bytes(type, outputs * kernels::weight_row_bytes(type, inputs));
      weights_.push_back(backend.pack({type, outputs, inputs, bytes}));
      flops_ += 2.0 * static_cast<double>(rows * inputs * outputs);
    }
  }
}

double DenseCase::weight_bytes(const LayerShape& shape, kernels::WeightType type) {
  double bytes = 0;
  for (const auto& [inputs, outputs] : shape.products()) {
    bytes += static_cast<double>(outputs * kernels::weight_row_bytes(type, inputs));
  }
  return bytes;
}

void DenseCase::run(kernels::Role role) {
  for (const auto& weight : weights_) {
    backend_.matmul(*stream_, role, *weight, {x_.data(), rows_, weight->columns(), weight->columns()},
                    {y_.data(), rows_, weight->rows(), weight->rows()});
  }
  stream_->wait();
}

AttentionCase::AttentionCase(kernels::Backend& backend, kernels::KvType type, AttentionShape shape)
    : backend_(backend),
      stream_(backend.make_stream()),
      shape_(shape),
      format_{type, shape.kv_heads, shape.head_dim},
      queries_(noise(shape.rows * shape.query_heads * shape.head_dim)),
      out_(queries_.size()),
      lse_(shape.rows * shape.query_heads) {
  const std::size_t blocks = (shape.tokens + kBlockTokens - 1) / kBlockTokens;
  const std::vector<float> floats = noise(kBlockTokens * shape.kv_heads * shape.head_dim);
  const kernels::ConstMatrix tokens{floats.data(), kBlockTokens, floats.size() / kBlockTokens,
                                    floats.size() / kBlockTokens};
  for (std::size_t layer = 0; layer < shape.layers; ++layer) {
    layers_.push_back(backend.allocate(blocks * format_.block_bytes(), kernels::MemoryKind::host));
    std::byte* const data = layers_.back()->data();
    backend.append(*stream_, format_, tokens, tokens, 0, data);
    blocks_.emplace_back();
    for (std::size_t b = 0; b < blocks; ++b) {
      if (b > 0) std::memcpy(data + b * format_.block_bytes(), data, format_.block_bytes());
      blocks_.back().push_back({.data = data + b * format_.block_bytes(),
                                .token_count = static_cast<std::uint32_t>(
                                    std::min<std::size_t>(kBlockTokens, shape.tokens - b * kBlockTokens)),
                                .first_position = static_cast<std::int64_t>(b * kBlockTokens)});
    }
  }
  draw_pages();
  constexpr std::size_t kBlocks = kStripeTokens / kBlockTokens;
  for (std::size_t b = 0; b < blocks; b += kBlocks) {
    stripes_.push_back({lane_of_stripe(b / kBlocks), static_cast<std::uint32_t>(b),
                        static_cast<std::uint32_t>(std::min(kBlocks, blocks - b))});
  }
  std::stable_sort(stripes_.begin(), stripes_.end(), [](const auto& a, const auto& b) { return a.lane < b.lane; });
  for (std::size_t i = 0; i < shape.rows; ++i) {
    positions_.push_back(static_cast<std::int64_t>(shape.tokens - shape.rows + i));
  }
}

void AttentionCase::run() {
  const kernels::LaneSpan root{0, 256};
  const kernels::Partial part{out_.data(), lse_.data()};
  backend_.attend(*stream_, {.format = format_,
                             .query_heads = shape_.query_heads,
                             .rows = shape_.rows,
                             .queries = queries_.data(),
                             .positions = positions_.data(),
                             .rope = {.dims = shape_.head_dim},
                             .scale = 1.0f / std::sqrt(static_cast<float>(shape_.head_dim)),
                             .blocks = blocks_[next_layer_],
                             .stripes = stripes_,
                             .nodes = {&root, 1},
                             .parts = {&part, 1}});
  stream_->wait();
  next_layer_ = (next_layer_ + 1) % layers_.size();
}

void AttentionCase::draw_pages() {
  std::mt19937 engine(13);
  masks_.assign(blocks_.front().size() * shape_.kv_heads, 0);
  for (std::uint8_t& mask : masks_) {
    for (std::uint32_t page = 0; page < kBlockPages; ++page) {
      if (engine() % shape_.pages_per_kept == 0) mask |= static_cast<std::uint8_t>(1u << page);
    }
  }
  for (auto& blocks : blocks_) {
    for (std::size_t b = 0; b < blocks.size(); ++b) blocks[b].head_masks = masks_.data() + b * shape_.kv_heads;
  }
}

double AttentionCase::flops() const {
  double pairs = 0;
  for (const std::int64_t position : positions_) pairs += static_cast<double>(position + 1);
  std::size_t kept = 0;
  for (const std::uint8_t mask : masks_) kept += static_cast<std::size_t>(std::popcount(mask));
  const double share = static_cast<double>(kept) / static_cast<double>(masks_.size() * kBlockPages);
  return 4.0 * shape_.head_dim * shape_.query_heads * pairs * share;
}

std::size_t AttentionCase::attended_bytes(const std::uint8_t* masks) const {
  constexpr std::size_t kLine = 64;
  std::vector<bool> lines(format_.block_bytes() / kLine);
  const auto add = [&](std::size_t begin, std::size_t bytes) {
    for (std::size_t line = begin / kLine; line * kLine < begin + bytes; ++line) lines[line] = true;
  };
  const std::size_t groups = format_.groups();
  for (std::uint32_t head = 0; head < format_.kv_heads; ++head) {
    for (std::uint32_t page = 0; page < kBlockPages; ++page) {
      if ((masks[head] >> page & 1u) == 0) continue;
      const std::uint32_t token = page * kPageTokens;
      const std::uint32_t panel = token / kPanelTokens;
      const std::uint32_t column = token % kPanelTokens;
      for (std::size_t d = 0; d < format_.head_dim; ++d) {
        add(format_.key_offset(head, panel) + d * format_.key_row_bytes() + column * element_bits(format_.type) / 8,
            kPageTokens * element_bits(format_.type) / 8);
      }
      add(format_.value_offset(head) + token * format_.value_row_bytes(), kPageTokens * format_.value_row_bytes());
      for (std::size_t g = 0; g < groups; ++g) {
        add(format_.key_scale_offset(head, panel) + 2 * (g * kPanelTokens + column), 2 * kPageTokens);
        add(format_.value_scale_offset(head) + 2 * (g * kBlockTokens + token), 2 * kPageTokens);
      }
    }
  }
  return static_cast<std::size_t>(std::count(lines.begin(), lines.end(), true)) * kLine;
}

double AttentionCase::kv_bytes() const {
  std::size_t bytes = 0;
  for (std::size_t b = 0; b < blocks_.front().size(); ++b) bytes += attended_bytes(masks_.data() + b * shape_.kv_heads);
  return static_cast<double>(bytes);
}

}  // namespace rotulus::benchmarks
