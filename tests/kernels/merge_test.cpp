#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <cmath>
#include <limits>

#include "kernels/cpu/elementary.h"
#include "kernels/reference/reference.h"
#include "tests/kernels/fixtures.h"
#include "tests/support/tolerance.h"

namespace rotulus::kernels::tests {
namespace {

using rotulus::tests::elementwise;
using rotulus::tests::exact;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr std::uint32_t kHeads = 2;
constexpr std::uint32_t kHeadDim = 32;

class Merge : public ::testing::TestWithParam<Isa> {
 protected:
  std::unique_ptr<Backend> backend_ = make_cpu_backend(GetParam(), 2);
};

struct Part {
  std::vector<float> out;
  std::vector<float> lse;
  ConstPartial view() const { return {out.data(), lse.data()}; }
};

Part random_part(std::size_t rows, Random& random) {
  Part part{random.normals(rows * kHeads * kHeadDim), random.normals(rows * kHeads)};
  for (float& lse : part.lse) lse *= 10;
  for (std::size_t i = 0; i < part.lse.size(); ++i) {
    if (random.below(4) != 0) continue;
    part.lse[i] = -kInfinity;
    std::fill_n(part.out.begin() + static_cast<std::ptrdiff_t>(i * kHeadDim), kHeadDim, 0.0f);
  }
  return part;
}

// Random disjoint nodes of the tree, ascending.
void random_nodes(LaneSpan span, Random& random, std::vector<LaneSpan>& nodes) {
  if (random.below(5) == 0) return;
  if (span.size == 1 || random.below(3) == 0) {
    nodes.push_back(span);
    return;
  }
  random_nodes({span.first, span.size / 2}, random, nodes);
  random_nodes({span.first + span.size / 2, span.size / 2}, random, nodes);
}

Part merge(Backend& backend, std::size_t rows, const std::vector<LaneSpan>& nodes, const std::vector<Part>& parts,
           const Part* tail = nullptr, const float* sink_logits = nullptr) {
  std::vector<ConstPartial> views;
  for (const Part& part : parts) views.push_back(part.view());
  Part into{std::vector<float>(rows * kHeads * kHeadDim, -77.0f), std::vector<float>(rows * kHeads, -77.0f)};
  const auto stream = backend.make_stream();
  backend.merge(*stream, {.rows = rows,
                          .query_heads = kHeads,
                          .head_dim = kHeadDim,
                          .nodes = nodes,
                          .parts = views,
                          .tail = tail == nullptr ? ConstPartial{} : tail->view(),
                          .sink_logits = sink_logits,
                          .into = {into.out.data(), into.lse.data()}});
  return into;
}

TEST_P(Merge, AgreesWithTheReferenceOnRandomTrees) {
  const bool held = rc::check("merged as one softmax", [&] {
    Random random(*rc::gen::arbitrary<std::uint64_t>());
    const std::size_t rows = random.between(1, 80);
    std::vector<LaneSpan> nodes;
    random_nodes({0, 256}, random, nodes);
    std::vector<Part> parts;
    std::vector<ConstPartial> views;
    for (std::size_t n = 0; n < nodes.size(); ++n) parts.push_back(random_part(rows, random));
    for (const Part& part : parts) views.push_back(part.view());
    const Part tail = random_part(rows, random);
    const bool has_tail = random.coin();
    const float logits[kHeads] = {random.normal() * 10, random.coin() ? -kInfinity : random.normal() * 10};
    const float* const sink_logits = random.coin() ? logits : nullptr;
    const Part merged = merge(*backend_, rows, nodes, parts, has_tail ? &tail : nullptr, sink_logits);
    const reference::Attended expected = reference::merge({.rows = rows,
                                                           .query_heads = kHeads,
                                                           .head_dim = kHeadDim,
                                                           .nodes = nodes,
                                                           .parts = views,
                                                           .tail = has_tail ? tail.view() : ConstPartial{},
                                                           .sink_logits = sink_logits});
    for (std::size_t i = 0; i < merged.lse.size(); ++i) {
      if (std::isinf(expected.lse[i])) {
        RC_ASSERT(merged.lse[i] == -kInfinity);
      } else {
        // Each of 9 levels rounds an lse of up to 60.
        RC_ASSERT(std::abs(merged.lse[i] - expected.lse[i]) <= elementwise(60.0));
      }
    }
    for (std::size_t i = 0; i < merged.out.size(); ++i) {
      RC_ASSERT(std::abs(merged.out[i] - expected.out[i]) <= elementwise(6.0 * 60.0));
    }
  });
  EXPECT_TRUE(held);
}

// Nodes may be merged in groups, in any order given, on any rank: ranks exchange tree nodes.
TEST_P(Merge, GivesTheSameBitsWhateverIsMergedFirst) {
  const bool held = rc::check("sub-trees first", [&] {
    Random random(*rc::gen::arbitrary<std::uint64_t>());
    const std::size_t rows = random.between(1, 5);
    std::vector<LaneSpan> nodes;
    random_nodes({0, 256}, random, nodes);
    std::vector<Part> parts;
    for (std::size_t n = 0; n < nodes.size(); ++n) parts.push_back(random_part(rows, random));
    const Part whole = merge(*backend_, rows, nodes, parts);

    // One aligned sub-tree is merged by someone else, and its place in the list is arbitrary.
    const std::uint32_t size = 1u << random.below(9);
    const LaneSpan inner{random.below(256 / size) * size, size};
    std::vector<LaneSpan> inner_nodes, outer_nodes;
    std::vector<Part> inner_parts, outer_parts;
    bool cuts_a_node = false;
    for (std::size_t n = 0; n < nodes.size(); ++n) {
      const bool inside = nodes[n].first >= inner.first && nodes[n].first + nodes[n].size <= inner.first + inner.size;
      const bool covers = nodes[n].first <= inner.first && nodes[n].first + nodes[n].size >= inner.first + inner.size;
      cuts_a_node |= covers && !inside;
      (inside ? inner_nodes : outer_nodes).push_back(nodes[n]);
      (inside ? inner_parts : outer_parts).push_back(parts[n]);
    }
    if (cuts_a_node) return;
    outer_nodes.insert(outer_nodes.begin(), inner);
    outer_parts.insert(outer_parts.begin(), merge(*backend_, rows, inner_nodes, inner_parts));
    const Part again = merge(*backend_, rows, outer_nodes, outer_parts);
    RC_ASSERT(exact<float>(whole.out, again.out));
    RC_ASSERT(exact<float>(whole.lse, again.lse));
  });
  EXPECT_TRUE(held);
}

TEST_P(Merge, LeavesTheOtherSideAsItIsWhereOneSideIsEmpty) {
  Random random(3);
  Part part = random_part(4, random);
  for (float& lse : part.lse) lse = random.normal();
  part.out[0] = -0.0f;
  part.out[1] = 1e-42f;
  // The output of an empty part is not read.
  const Part empty{std::vector<float>(part.out.size(), std::nanf("")), std::vector<float>(part.lse.size(), -kInfinity)};
  const std::vector<LaneSpan> two{{0, 128}, {128, 128}};
  for (const Part& merged : {merge(*backend_, 4, two, {part, empty}), merge(*backend_, 4, two, {empty, part}),
                             merge(*backend_, 4, {{7, 1}}, {part}), merge(*backend_, 4, {{7, 1}}, {part}, &empty),
                             merge(*backend_, 4, two, {empty, empty}, &part), merge(*backend_, 4, {}, {}, &part)}) {
    EXPECT_TRUE(exact<float>(merged.out, part.out));
    EXPECT_TRUE(exact<float>(merged.lse, part.lse));
  }
}

TEST_P(Merge, OfNothingIsTheIdentity) {
  const Part merged = merge(*backend_, 3, {}, {});
  for (const float lse : merged.lse) EXPECT_EQ(lse, -kInfinity);
  for (const float out : merged.out) EXPECT_EQ(out, 0.0f);
}

TEST_P(Merge, PutsTheTailLast) {
  Random random(5);
  const Part a = random_part(6, random);
  const Part b = random_part(6, random);
  const Part tail = random_part(6, random);
  const std::vector<LaneSpan> two{{0, 1}, {255, 1}};
  const Part document = merge(*backend_, 6, two, {a, b});
  // The tail on side b of a root over the document.
  const Part expected = merge(*backend_, 6, {{0, 128}, {128, 128}}, {document, tail});
  const Part merged = merge(*backend_, 6, two, {a, b}, &tail);
  EXPECT_TRUE(exact<float>(merged.out, expected.out));
  EXPECT_TRUE(exact<float>(merged.lse, expected.lse));
}

// A sink takes its share of the softmax and gives nothing; -inf is no sink, bit for bit.
TEST_P(Merge, LetsASinkJoinLastAndOnce) {
  Random random(7);
  const std::vector<LaneSpan> two{{0, 128}, {128, 128}};
  const std::vector<Part> parts{random_part(9, random), random_part(9, random)};
  const Part tail = random_part(9, random);
  const Part plain = merge(*backend_, 9, two, parts, &tail);
  const float logits[kHeads] = {-kInfinity, 4.0f};
  const Part with_sink = merge(*backend_, 9, two, parts, &tail, logits);
  for (std::size_t i = 0; i < plain.lse.size(); ++i) {
    const auto out = [&](const Part& part) { return std::span<const float>(part.out).subspan(i * kHeadDim, kHeadDim); };
    if (i % kHeads == 0) {
      EXPECT_EQ(with_sink.lse[i], plain.lse[i]);
      EXPECT_TRUE(exact(out(with_sink), out(plain)));
      continue;
    }
    const double share = 1 / (1 + std::exp(4.0 - plain.lse[i]));
    EXPECT_NEAR(with_sink.lse[i], 4.0 - std::log1p(-share), elementwise(60.0));
    for (std::size_t d = 0; d < kHeadDim; ++d) EXPECT_NEAR(out(with_sink)[d], share * out(plain)[d], elementwise(6.0));
  }
  const Part nothing = merge(*backend_, 1, {}, {}, nullptr, logits);
  EXPECT_EQ(nothing.lse[0], -kInfinity);
  EXPECT_EQ(nothing.lse[1], 4.0f);
  for (const float out : nothing.out) EXPECT_EQ(out, 0.0f);
}

TEST_P(Merge, MakesARowHeadNaNWhereOneSideIs) {
  Random random(6);
  Part a = random_part(1, random);
  Part b = random_part(1, random);
  a.lse = {1.0f, 2.0f};
  b.lse = {std::nanf(""), 3.0f};
  const Part merged = merge(*backend_, 1, {{0, 128}, {128, 128}}, {a, b});
  EXPECT_TRUE(std::isnan(merged.lse[0]));
  EXPECT_TRUE(std::isnan(merged.out[0]));
  EXPECT_FALSE(std::isnan(merged.lse[1]));
  EXPECT_FALSE(std::isnan(merged.out[kHeadDim]));
}

TEST(Elementary, ExpAndLogAgreeWithTheLibraryToFourteenDigits) {
  for (double x = -700; x < 700; x += 0.37) ASSERT_NEAR(cpu::exp_double(x) / std::exp(x), 1.0, 1e-14) << x;
  for (double x = 1e-300; x < 1e300; x *= 1.37) {
    ASSERT_NEAR(cpu::log_double(x), std::log(x), 1e-14 * std::max(1.0, std::abs(std::log(x)))) << x;
  }
  for (double x = 0.5; x < 2.0; x += 0.001) ASSERT_NEAR(cpu::log_double(x), std::log(x), 1e-15) << x;
  EXPECT_EQ(cpu::exp_double(0.0), 1.0);
  EXPECT_EQ(cpu::log_double(1.0), 0.0);
}

INSTANTIATE_TEST_SUITE_P(EveryRow, Merge, ::testing::ValuesIn(supported_isas()), isa_name);

}  // namespace
}  // namespace rotulus::kernels::tests
