#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <thread>

#include "kernels/reference/reference.h"
#include "protocol/lanes.h"
#include "tests/kernels/fixtures.h"
#include "tests/support/tolerance.h"

namespace rotulus::kernels::tests {
namespace {

using rotulus::tests::elementwise;
using rotulus::tests::exact;
using rotulus::tests::reduction;

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

class Attend : public ::testing::TestWithParam<Isa> {};

std::vector<std::int64_t> run_of_positions(std::int64_t first, std::size_t count) {
  std::vector<std::int64_t> positions(count);
  for (std::size_t i = 0; i < count; ++i) positions[i] = first + static_cast<std::int64_t>(i);
  return positions;
}

AttendTask task_of(StoredContext& context, const Question& question, std::span<const Stripe> stripes) {
  return {.format = context.format(),
          .query_heads = question.query_heads,
          .rows = question.positions.size(),
          .queries = question.queries.data(),
          .positions = question.positions.data(),
          .rope = question.rope,
          .scale = 1.0f / std::sqrt(static_cast<float>(context.format().head_dim)),
          .window = question.window,
          .soft_cap = question.soft_cap,
          .blocks = context.blocks(),
          .stripes = stripes};
}

// Scores of normal queries and keys stay within ~8, values within ~6; an error of a score is an error of its weight.
void expect_near_reference(StoredContext& context, const Question& question, const Answer& answer, LaneSpan node,
                           std::size_t index) {
  const std::vector<Stripe> stripes = context.stripes(node);
  const reference::Attended expected = reference::attend(task_of(context, question, stripes), node);
  const std::size_t dim = context.format().head_dim;
  // scale * sum |q k|, and a few roundings of a score that is capped
  const double score_error = reduction(dim, std::sqrt(static_cast<double>(dim))) + elementwise(question.soft_cap);
  for (std::size_t i = 0; i < expected.lse.size(); ++i) {
    if (expected.lse[i] == -kInfinity) {
      ASSERT_EQ(answer.lse[index][i], -kInfinity);
    } else {
      ASSERT_NEAR(answer.lse[index][i], expected.lse[i], score_error + elementwise(16.0));
    }
  }
  for (std::size_t i = 0; i < expected.out.size(); ++i) {
    ASSERT_NEAR(answer.out[index][i], expected.out[i], 6 * (score_error + reduction(context.tokens(), 1.0))) << i;
  }
}

// Random masks, shifts, and garbage in everything that is masked or unused.
void disturb(StoredContext& context, Random& random) {
  context.poison_unused(random);
  for (KvBlock& block : context.blocks()) {
    if (random.below(3) == 0) block.page_mask = static_cast<std::uint8_t>(random.below(256));
    if (random.below(4) == 0) block.shift = random.below(5000) - std::int64_t{2500};
    for (std::uint32_t page = 0; page < kBlockTokens / kPageTokens; ++page) {
      if (block.page_mask >> page & 1u) continue;
      const auto token =
          static_cast<std::size_t>(block.first_position) + page * kPageTokens + random.below(kPageTokens);
      const std::uint32_t d = random.below(context.format().head_dim);
      context.set_key(token, 0, d, kNaN);
      context.set_value(token, 0, d, kInfinity);
    }
  }
}

TEST_P(Attend, AgreesWithTheReferenceForHeadShapesAndFormats) {
  Random random(1);
  const auto backend = make_cpu_backend(GetParam(), 2);
  struct Shape {
    std::uint32_t query_heads, kv_heads, head_dim;
  };
  for (const Shape shape : {Shape{3, 3, 64}, Shape{9, 3, 64}, Shape{8, 1, 80}, Shape{4, 2, 96}, Shape{16, 1, 128},
                            Shape{2, 1, 256}, Shape{5, 1, 16}}) {
    for (const KvType type : kKvTypes) {
      for (const std::size_t tokens : {1u, 130u, 777u}) {
        StoredContext context(*backend, {type, shape.kv_heads, shape.head_dim}, tokens, random);
        const std::size_t rows = std::min<std::size_t>(tokens, 13);
        const auto first = static_cast<std::int64_t>(tokens - rows);
        const Question question(shape.query_heads, shape.head_dim, run_of_positions(first, rows), random);
        const Answer answer = ask(*backend, context, question, kRoot);
        expect_near_reference(context, question, answer, kRoot[0], 0);
      }
    }
  }
}

TEST_P(Attend, TurnsNeighboursAndHalvesAndPartsOfAHead) {
  Random random(2);
  const auto backend = make_cpu_backend(GetParam(), 1);
  StoredContext context(*backend, {KvType::f32, 2, 80}, 300, random);
  Question question(4, 80, run_of_positions(280, 20), random);
  for (const RopePairing pairing : {RopePairing::neighbours, RopePairing::halves}) {
    for (const std::uint32_t dims : {0u, 2u, 20u, 46u, 80u}) {
      question.rope = {.dims = dims, .base = 10000.0, .pairing = pairing};
      for (KvBlock& block : context.blocks()) block.shift = random.below(2000) - std::int64_t{1000};
      expect_near_reference(context, question, ask(*backend, context, question, kRoot), kRoot[0], 0);
    }
  }
}

TEST_P(Attend, LooksBackNoFurtherThanItsWindowWhateverTheShift) {
  Random random(9);
  const auto backend = make_cpu_backend(GetParam(), 2);
  for (const std::uint32_t group : {1u, 3u, 7u}) {
    StoredContext context(*backend, {KvType::f16, 1, 64}, 1400, random);
    for (KvBlock& block : context.blocks()) block.shift = random.coin() ? 0 : random.below(3000);
    Question question(group, 64, run_of_positions(1371, 29), random);
    for (const std::int64_t window : {1, 15, 16, 100, 128, 500, 1399}) {
      question.window = window;
      expect_near_reference(context, question, ask(*backend, context, question, kRoot), kRoot[0], 0);
    }
  }
}

// A row with a window has the bits of one that is given no more than the window, and no row's keys disturb another.
TEST_P(Attend, AddsExactlyNothingFromBeforeTheWindow) {
  Random random(10);
  const auto backend = make_cpu_backend(GetParam(), 2);
  for (const std::size_t rows : {1u, 40u}) {
    StoredContext context(*backend, {KvType::f16, 1, 64}, 900, random);
    Question question(3, 64, run_of_positions(850, rows), random);
    question.window = 338;  // the first row's first key is 513
    const Answer clean = ask(*backend, context, question, kRoot);
    for (std::size_t token = 0; token < 513; ++token) {
      context.set_key(token, 0, random.below(64), kNaN);
      context.set_value(token, 0, random.below(64), kInfinity);
    }
    const Answer poisoned = ask(*backend, context, question, kRoot);
    EXPECT_TRUE(exact<float>(clean.out[0], poisoned.out[0]));
    EXPECT_TRUE(exact<float>(clean.lse[0], poisoned.lse[0]));
    question.window = 5000;
    Question whole = question;
    whole.window = 0;
    EXPECT_TRUE(
        exact<float>(ask(*backend, context, question, kRoot).lse[0], ask(*backend, context, whole, kRoot).lse[0]));
  }
}

TEST_P(Attend, CapsScoresSoftly) {
  Random random(11);
  const auto backend = make_cpu_backend(GetParam(), 2);
  StoredContext context(*backend, {KvType::f16, 1, 64}, 700, random);
  Question question(3, 64, run_of_positions(650, 50), random);
  for (float& value : question.queries) value *= 0.5f;  // scores up to 4: every part of tanh
  for (const float cap : {0.5f, 2.0f, 50.0f}) {
    question.soft_cap = cap;
    expect_near_reference(context, question, ask(*backend, context, question, kRoot), kRoot[0], 0);
  }
}

// The softmax mass of every page, against one that is asked to attend to nothing else.
TEST_P(Attend, TellsTheMassOfEachPageOnRequest) {
  Random random(12);
  const auto backend = make_cpu_backend(GetParam(), 2);
  const auto stream = backend->make_stream();
  for (const std::size_t rows : {1u, 30u}) {
    StoredContext context(*backend, {KvType::f16, 2, 64}, 1130, random);
    disturb(context, random);
    Question question(6, 64, run_of_positions(1090, rows), random);
    question.window = 700;
    question.soft_cap = 20;
    const Answer plain = ask(*backend, context, question, kRoot);
    const std::vector<Stripe> stripes = context.stripes(kRoot[0]);
    AttendTask task = task_of(context, question, stripes);
    Answer answer{{std::vector<float>(plain.out[0].size())}, {std::vector<float>(plain.lse[0].size())}};
    const std::vector<Partial> parts{{answer.out[0].data(), answer.lse[0].data()}};
    std::vector<float> page_lse(answer.lse[0].size() * context.blocks().size() * kBlockPages, -77.0f);
    task.nodes = kRoot;
    task.parts = parts;
    task.page_lse = page_lse.data();
    backend->attend(*stream, task);
    EXPECT_TRUE(exact<float>(plain.out[0], answer.out[0]));
    EXPECT_TRUE(exact<float>(plain.lse[0], answer.lse[0]));
    const std::vector<KvBlock> blocks = context.blocks();
    for (std::size_t page = 0; page < blocks.size() * kBlockPages; ++page) {
      std::vector<KvBlock> only(blocks);
      for (std::size_t b = 0; b < only.size(); ++b) {
        only[b].page_mask &= static_cast<std::uint8_t>(b == page / kBlockPages ? 1u << page % kBlockPages : 0u);
      }
      task.blocks = only;
      const reference::Attended expected = reference::attend(task, kRoot[0]);
      for (std::size_t i = 0; i < expected.lse.size(); ++i) {
        const float lse = page_lse[i * blocks.size() * kBlockPages + page];
        if (expected.lse[i] == -kInfinity) {
          ASSERT_EQ(lse, -kInfinity);
        } else {
          ASSERT_NEAR(lse, expected.lse[i], reduction(64, 8.0) + elementwise(20.0)) << i << " " << page;
        }
      }
    }
  }
}

// Several stripes in one lane: more than 256 stripes.
TEST_P(Attend, FoldsSeveralStripesOfALaneInOrder) {
  Random random(3);
  const auto backend = make_cpu_backend(GetParam(), 2);
  const std::size_t tokens = 259 * kStripeTokens + 3;
  StoredContext context(*backend, {KvType::f16, 1, 16}, tokens, random);
  const Question question(1, 16, {static_cast<std::int64_t>(tokens) - 1, 256 * 512 + 5}, random);
  const std::vector<LaneSpan> nodes{{0, 1}, {64, 64}, {128, 1}};
  const Answer answer = ask(*backend, context, question, nodes);
  for (std::size_t n = 0; n < nodes.size(); ++n) expect_near_reference(context, question, answer, nodes[n], n);
}

// A setting in which every cut of the work is tried against one row asked alone over the whole tree.
struct Scene {
  std::uint32_t group;
  std::uint32_t head_dim;
  KvType type;
  std::size_t tokens;
};

rc::Gen<Scene> any_scene() {
  return rc::gen::apply(
      [](std::uint32_t group, std::uint32_t head_dim, KvType type, std::size_t tokens) {
        return Scene{group, head_dim, type, tokens};
      },
      rc::gen::element<std::uint32_t>(1, 2, 3, 4, 7, 16), rc::gen::element<std::uint32_t>(16, 64, 80, 96, 128, 256),
      rc::gen::elementOf(std::vector<KvType>(std::begin(kKvTypes), std::end(kKvTypes))),
      rc::gen::element<std::size_t>(1, 2, 15, 16, 17, 63, 65, 127, 128, 129, 511, 512, 513, 1300, 2051));
}

std::vector<LaneSpan> nodes_of_ranks(std::uint32_t ranks) {
  std::vector<LaneSpan> nodes;
  for (std::uint32_t rank = 0; rank < ranks; ++rank) {
    for (const protocol::LaneNode& node : protocol::cover(protocol::lanes_of_rank(rank, ranks))) {
      nodes.push_back({node.first, node.size});
    }
  }
  return nodes;
}

// The property on which "any number of ranks, threads, rows: the same bytes" rests.
TEST_P(Attend, GivesTheSameBitsHoweverRowsLanesAndThreadsAreCut) {
  std::vector<std::unique_ptr<Backend>> backends;
  for (std::size_t threads = 1; threads <= 3; ++threads) backends.push_back(make_cpu_backend(GetParam(), threads));
  const bool held = rc::check("cuts leave no trace", [&] {
    const Scene scene = *any_scene();
    Random random(*rc::gen::arbitrary<std::uint64_t>());
    Backend& alone = *backends[0];
    StoredContext context(alone, {scene.type, 1, scene.head_dim}, scene.tokens, random);
    disturb(context, random);
    const std::size_t rows = random.between(1, 70);
    std::vector<std::int64_t> positions =
        run_of_positions(random.below(static_cast<std::uint32_t>(scene.tokens)), rows);
    Question question(scene.group, scene.head_dim, positions, random);
    if (random.coin()) question.window = random.between(1, 1500);
    if (random.below(4) == 0) question.soft_cap = 5;

    const auto ranks = *rc::gen::inRange<std::uint32_t>(1, 8);
    const std::vector<LaneSpan> nodes = nodes_of_ranks(ranks);
    Backend& backend = *backends[random.below(3)];
    std::size_t checked = 0;
    for (std::size_t first = 0; first < rows;) {
      const std::size_t count = random.between(1, static_cast<std::uint32_t>(rows - first));
      const Answer parts = ask(backend, context, question, first, count, nodes);
      const Answer merged = merge_to_root(backend, parts, nodes, count, scene.group, scene.head_dim);
      const std::size_t probe = random.below(static_cast<std::uint32_t>(count));
      const Answer one = ask(alone, context, question, first + probe, 1, kRoot);
      const std::size_t floats = scene.group * scene.head_dim;
      RC_ASSERT(exact<float>(one.out[0], std::span<const float>(merged.out[0]).subspan(probe * floats, floats)));
      RC_ASSERT(
          exact<float>(one.lse[0], std::span<const float>(merged.lse[0]).subspan(probe * scene.group, scene.group)));
      RC_ASSERT(std::none_of(one.out[0].begin(), one.out[0].end(), [](float x) { return std::isnan(x); }));
      first += count;
      ++checked;
    }
    RC_ASSERT(checked > 0);
  });
  EXPECT_TRUE(held);
}

// A selection of everything is exact attention; a masked page is as good as absent.
TEST_P(Attend, AddsExactlyNothingForMaskedPagesAndAbsentBlocks) {
  Random random(5);
  const auto backend = make_cpu_backend(GetParam(), 2);
  for (const std::size_t rows : {1u, 30u}) {
    StoredContext context(*backend, {KvType::f16, 2, 64}, 1024, random);
    const Question question(6, 64, run_of_positions(1000, rows), random);
    // Block 1 and the last half of block 2, masked ...
    context.blocks()[1].page_mask = 0;
    context.blocks()[2].page_mask = 0x0f;
    const Answer masked = ask(*backend, context, question, kRoot);
    expect_near_reference(context, question, masked, kRoot[0], 0);
    // ... and left out.
    context.blocks()[2].page_mask = 0xff;
    context.blocks()[2].token_count = 64;
    context.blocks().erase(context.blocks().begin() + 1);
    std::vector<Stripe> stripes{{0, 0, 3}, {128, 3, 4}};
    Answer absent{{std::vector<float>(masked.out[0].size())}, {std::vector<float>(masked.lse[0].size())}};
    const std::vector<Partial> parts{{absent.out[0].data(), absent.lse[0].data()}};
    AttendTask task = task_of(context, question, stripes);
    task.nodes = kRoot;
    task.parts = parts;
    const auto stream = backend->make_stream();
    backend->attend(*stream, task);
    EXPECT_TRUE(exact<float>(masked.out[0], absent.out[0]));
    EXPECT_TRUE(exact<float>(masked.lse[0], absent.lse[0]));
  }
}

// Single pages kept by one KV head and not by the other, as retrieval selects them.
TEST_P(Attend, GivesTheSameBitsWhateverMaskedPagesHold) {
  Random random(13);
  const auto backend = make_cpu_backend(GetParam(), 2);
  for (const KvType type : kKvTypes) {
    for (const std::size_t rows : {1u, 30u}) {
      StoredContext context(*backend, {type, 2, 80}, 700, random);
      const Question question(6, 80, run_of_positions(690, rows), random);
      std::vector<std::uint8_t> masks(context.blocks().size() * 2);
      for (std::uint8_t& mask : masks) mask = static_cast<std::uint8_t>(random.below(256) & random.below(256));
      for (std::size_t b = 0; b < context.blocks().size(); ++b) context.blocks()[b].head_masks = masks.data() + 2 * b;
      const Answer clean = ask(*backend, context, question, kRoot);
      expect_near_reference(context, question, clean, kRoot[0], 0);
      for (std::size_t token = 0; token < context.tokens(); ++token) {
        for (std::uint32_t head = 0; head < 2; ++head) {
          const std::uint8_t mask = masks[token / kBlockTokens * 2 + head];
          if (mask >> (token % kBlockTokens / kPageTokens) & 1u) continue;
          context.set_key(token, head, static_cast<std::uint32_t>(token % 80), kNaN);
          context.set_value(token, head, static_cast<std::uint32_t>(token % 80), kInfinity);
        }
      }
      const Answer poisoned = ask(*backend, context, question, kRoot);
      EXPECT_TRUE(exact<float>(clean.out[0], poisoned.out[0]));
      EXPECT_TRUE(exact<float>(clean.lse[0], poisoned.lse[0]));
    }
  }
}

// A value that some rows of a tile see and others do not must stay out of the others, even times zero.
TEST_P(Attend, KeepsNonFiniteKeysAndValuesOutOfRowsThatDoNotSeeThem) {
  Random random(6);
  const auto backend = make_cpu_backend(GetParam(), 2);
  for (const KvType type : kKvTypes) {
    StoredContext context(*backend, {type, 1, 64}, 200, random);
    const Question question(3, 64, run_of_positions(100, 100), random);
    const Answer clean = ask(*backend, context, question, kRoot);
    context.set_value(150, 0, 7, kInfinity);
    context.set_key(170, 0, 3, kNaN);
    const Answer poisoned = ask(*backend, context, question, kRoot);
    const std::size_t row_floats = 3 * 64;
    const auto rows = [&](const Answer& answer, std::size_t first, std::size_t count) {
      return std::span<const float>(answer.out[0]).subspan(first * row_floats, count * row_floats);
    };
    EXPECT_TRUE(exact(rows(clean, 0, 50), rows(poisoned, 0, 50)));
    EXPECT_TRUE(std::isinf(rows(poisoned, 50, 1)[7]));
    for (const float value : rows(poisoned, 70, 30)) EXPECT_TRUE(std::isnan(value));
  }
}

TEST_P(Attend, WritesTheIdentityWhereNothingIsSeen) {
  Random random(7);
  const auto backend = make_cpu_backend(GetParam(), 2);
  StoredContext context(*backend, {KvType::f16, 1, 32}, 600, random);
  const Question question(2, 32, {-5, 3, 700}, random);
  // Stripe 0 lies in lane 0, stripe 1 in lane 128; lanes 1..127 hold nothing.
  const std::vector<LaneSpan> nodes{{0, 1}, {64, 64}, {128, 128}};
  const Answer answer = ask(*backend, context, question, nodes);
  for (std::size_t n = 0; n < nodes.size(); ++n) {
    for (std::size_t row = 0; row < 3; ++row) {
      const bool sees = (n == 0 && row > 0) || (n == 2 && row == 2);
      for (std::size_t head = 0; head < 2; ++head) {
        EXPECT_EQ(answer.lse[n][row * 2 + head] == -kInfinity, !sees) << n << " " << row;
        for (std::size_t d = 0; d < 32 && !sees; ++d) EXPECT_EQ(answer.out[n][(row * 2 + head) * 32 + d], 0.0f);
      }
    }
  }
}

// Partials of a node are cut along its tree, past levels of which one side is empty; then all of them may be empty too.
TEST_P(Attend, WritesTheIdentityWhereNothingIsSeenOfANodeOfWhichHalfIsEmpty) {
  Random random(17);
  const auto backend = make_cpu_backend(GetParam(), 2);
  StoredContext context(*backend, {KvType::f16, 1, 32}, 8 * kStripeTokens, random);
  Question question(2, 32, {3, 4000}, random);
  const std::vector<Stripe> stripes = context.stripes({192, 64});
  ASSERT_EQ(stripes.size(), 2u);
  std::vector<float> out(4 * 32, kNaN);
  std::vector<float> lse(4, kNaN);
  const Partial part{out.data(), lse.data()};
  AttendTask task = task_of(context, question, stripes);
  task.nodes = kRoot;
  task.parts = {&part, 1};
  const auto stream = backend->make_stream();
  backend->attend(*stream, task);
  for (std::size_t i = 0; i < 4; ++i) EXPECT_EQ(lse[i] == -kInfinity, i < 2);
  for (std::size_t i = 0; i < 2 * 32; ++i) EXPECT_EQ(out[i], 0.0f);
}

TEST_P(Attend, CallsProgressFromTheCallingThreadOnly) {
  Random random(8);
  const auto backend = make_cpu_backend(GetParam(), 3);
  StoredContext context(*backend, {KvType::f16, 3, 64}, 1500, random);
  const Question question(9, 64, run_of_positions(1400, 100), random);
  const std::vector<Stripe> stripes = context.stripes(kRoot[0]);
  std::vector<float> out(100 * 9 * 64);
  std::vector<float> lse(100 * 9);
  const std::vector<Partial> parts{{out.data(), lse.data()}};
  AttendTask task = task_of(context, question, stripes);
  task.nodes = kRoot;
  task.parts = parts;
  std::size_t calls = 0;
  const auto caller = std::this_thread::get_id();
  task.progress = [&] {
    EXPECT_EQ(std::this_thread::get_id(), caller);
    ++calls;
  };
  const auto stream = backend->make_stream();
  backend->attend(*stream, task);
  EXPECT_GT(calls, 0u);
}

INSTANTIATE_TEST_SUITE_P(EveryRow, Attend, ::testing::ValuesIn(supported_isas()), isa_name);

}  // namespace
}  // namespace rotulus::kernels::tests
