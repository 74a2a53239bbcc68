// Random operands, backends of every ISA row, and contexts of stored blocks for the tests of the kernels.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "kernels/backend.h"

namespace rotulus::kernels::tests {

class Random {
 public:
  explicit Random(std::uint64_t seed) : engine_(seed) {}
  std::uint32_t below(std::uint32_t limit) {
    return std::uniform_int_distribution<std::uint32_t>(0, limit - 1)(engine_);
  }
  std::uint32_t between(std::uint32_t low, std::uint32_t high) { return low + below(high - low + 1); }
  float normal() { return std::normal_distribution<float>()(engine_); }
  std::vector<float> normals(std::size_t count);
  bool coin() { return below(2) == 1; }

 private:
  std::mt19937_64 engine_;
};

// The rows of this machine, for INSTANTIATE_TEST_SUITE_P; printed by name.
std::string isa_name(const ::testing::TestParamInfo<Isa>& info);

// A weight as a file would hold it: any codes and integer scales, float scales of both signs.
struct RandomWeight {
  WeightSource source;
  std::vector<std::byte> bytes;
};
RandomWeight random_weight(WeightType type, std::size_t rows, std::size_t columns, Random& random);

inline constexpr WeightType kWeightTypes[] = {
    WeightType::f32,  WeightType::f16,    WeightType::bf16,   WeightType::q8_0, WeightType::q4_0, WeightType::q4_1,
    WeightType::q5_0, WeightType::q5_1,   WeightType::q2_k,   WeightType::q3_k, WeightType::q4_k, WeightType::q5_k,
    WeightType::q6_k, WeightType::iq4_nl, WeightType::iq4_xs, WeightType::mxfp4};

// Dense [rows, columns].
struct Dense {
  std::size_t rows = 0;
  std::size_t columns = 0;
  std::vector<float> values;
  Dense(std::size_t rows, std::size_t columns) : rows(rows), columns(columns), values(rows * columns) {}
  Dense(std::size_t rows, std::size_t columns, Random& random)
      : rows(rows), columns(columns), values(random.normals(rows * columns)) {}
  Matrix view() { return {values.data(), rows, columns, columns}; }
  ConstMatrix view() const { return {values.data(), rows, columns, columns}; }
  ConstMatrix rows_from(std::size_t first, std::size_t count) const {
    return {values.data() + first * columns, count, columns, columns};
  }
  std::span<const float> row(std::size_t index) const { return {values.data() + index * columns, columns}; }
};

// The product, written over garbage.
Dense multiply(Backend& backend, Role role, const PackedWeight& weight, ConstMatrix x);

// A context of `tokens` tokens in its stored form, appended by a backend, cut into stripes and lanes as the
// architecture does: lane(stripe) = bit_reverse(stripe mod 256).
class StoredContext {
 public:
  StoredContext(Backend& backend, KvFormat format, std::size_t tokens, Random& random);

  // Overwrites what no token uses (the rows after the last token) with `garbage`: NaN, infinities and noise.
  void poison_unused(Random& random);

  const KvFormat& format() const { return format_; }
  std::size_t tokens() const { return tokens_; }
  std::vector<KvBlock>& blocks() { return blocks_; }

  // Stripes whose lane lies in [first, first + size), by (lane, position); blocks are those of blocks().
  std::vector<Stripe> stripes(LaneSpan span) const;

  // Overwrites a number of a stored token; where its type has scales, the scale of its group.
  void set_key(std::size_t token, std::uint32_t head, std::uint32_t d, float value);
  void set_value(std::size_t token, std::uint32_t head, std::uint32_t d, float value);

 private:
  void set(std::byte* row, std::size_t index, std::byte* scale, float value);

  KvFormat format_;
  std::size_t tokens_;
  std::vector<std::unique_ptr<Buffer>> memory_;
  std::vector<KvBlock> blocks_;
};

std::uint32_t lane_of_stripe(std::size_t stripe);

// Queries of rows at positions, and everything else that a task needs.
struct Question {
  std::uint32_t query_heads = 0;
  std::vector<std::int64_t> positions;
  std::vector<float> queries;  // [rows, query_heads, head_dim]
  Rope rope;
  std::int64_t window = 0;
  float soft_cap = 0;

  Question(std::uint32_t query_heads, std::uint32_t head_dim, std::vector<std::int64_t> positions, Random& random);
};

// The answer of attend for each node.
struct Answer {
  std::vector<std::vector<float>> out;  // one per node
  std::vector<std::vector<float>> lse;
};

// Attends with rows [first, first + count) of the question over the stripes of all nodes.
Answer ask(Backend& backend, StoredContext& context, const Question& question, std::size_t first, std::size_t count,
           std::vector<LaneSpan> nodes);
Answer ask(Backend& backend, StoredContext& context, const Question& question, std::vector<LaneSpan> nodes);

// Merges the parts of an answer to the root.
Answer merge_to_root(Backend& backend, const Answer& parts, const std::vector<LaneSpan>& nodes, std::size_t rows,
                     std::uint32_t query_heads, std::uint32_t head_dim);

inline const std::vector<LaneSpan> kRoot{{0, 256}};

}  // namespace rotulus::kernels::tests
