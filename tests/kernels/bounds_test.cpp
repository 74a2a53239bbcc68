// Bounds of keys: they hold for every key, and what is concluded from them for every page, wherever it is shown.
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/cpu/half.h"
#include "kernels/landmarks.h"
#include "kernels/reference/reference.h"
#include "tests/kernels/fixtures.h"
#include "tests/support/tolerance.h"

namespace rotulus::kernels::tests {
namespace {

using rotulus::tests::reduction;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

class Bounds : public ::testing::TestWithParam<Isa> {
 protected:
  std::unique_ptr<Backend> backend_ = make_cpu_backend(GetParam(), 2);
  std::unique_ptr<Stream> stream_ = backend_->make_stream();

  // Of all blocks of a context, which are complete.
  std::vector<std::vector<std::byte>> bounds_of(StoredContext& context, const Rope& rope) {
    std::vector<std::vector<std::byte>> all;
    for (const KvBlock& block : context.blocks()) {
      all.emplace_back(bounds_block_bytes(context.format()));
      backend_->summarize(*stream_, context.format(), rope, block.first_position, block.data, nullptr,
                          all.back().data());
    }
    return all;
  }
};

std::vector<const std::byte*> views(const std::vector<std::vector<std::byte>>& blocks) {
  std::vector<const std::byte*> views;
  for (const auto& block : blocks) views.push_back(block.data());
  return views;
}

Rope random_rope(std::uint32_t head_dim, Random& random) {
  return {random.coin() ? head_dim : head_dim / 2, 10000.0,
          random.coin() ? RopePairing::neighbours : RopePairing::halves};
}

TEST_P(Bounds, HoldForEveryKeyOfTheirPageAndAreNoWiderThanF16) {
  rc::check("low <= key <= high, and both are keys rounded once", [&] {
    Random random(*rc::gen::arbitrary<std::uint32_t>());
    const KvType types[] = {KvType::f32, KvType::f16, KvType::bf16, KvType::int8};
    const KvFormat format{types[random.below(4)], 2, 32};
    const Rope rope = random_rope(32, random);
    StoredContext context(*backend_, format, 2 * kBlockTokens, random);
    const auto bounds = bounds_of(context, rope);
    for (std::size_t page = 0; page < 2 * kBlockPages; ++page) {
      const KvBlock& block = context.blocks()[page / kBlockPages];
      for (std::uint32_t head = 0; head < format.kv_heads; ++head) {
        const BoundsView view = view_bounds(bounds[page / kBlockPages].data() + head * bounds_head_bytes(32), 32);
        std::vector<double> least(32, kInfinity), greatest(32, -kInfinity);
        for (std::uint32_t t = page % kBlockPages * kPageTokens, end = t + kPageTokens; t < end; ++t) {
          std::vector<double> key(32);
          for (std::uint32_t c = 0; c < 32; ++c) key[c] = reference::stored_key(format, block.data, head, t, c);
          reference::rotate(rope, -(block.first_position + t), key.data());
          for (std::uint32_t c = 0; c < 32; ++c) {
            least[c] = std::min(least[c], key[c]);
            greatest[c] = std::max(greatest[c], key[c]);
          }
        }
        for (std::uint32_t c = 0; c < 32; ++c) {
          const double low = reference::decode_f16(view.lows[page % kBlockPages * 32 + c]);
          const double high = reference::decode_f16(view.highs[page % kBlockPages * 32 + c]);
          const double rounded = reduction(2, 8.0);  // what turning in float32 may differ from turning in double
          RC_ASSERT(low <= least[c] + rounded && high >= greatest[c] - rounded);
          RC_ASSERT(low >= least[c] - std::abs(least[c]) * 0x1p-10 - rounded);
          RC_ASSERT(high <= greatest[c] + std::abs(greatest[c]) * 0x1p-10 + rounded);
        }
      }
    }
  });
}

TEST_P(Bounds, ScoreAPageAsTheReferenceDoes) {
  Random random(2);
  const KvFormat format{KvType::f16, 2, 80};
  StoredContext context(*backend_, format, 10 * kBlockTokens, random);
  const Question question(6, format.head_dim, {1300, 1301, 1302}, random);
  const auto bounds = bounds_of(context, question.rope);
  const std::vector<const std::byte*> blocks = views(bounds);
  const std::size_t pages = blocks.size() * kBlockPages;
  std::vector<float> scores(6 * 3 * pages), lse(6 * 3);
  const std::vector<PageRun> runs{{0, 10}};
  ScoreTask task;
  task.kv_heads = 2;
  task.query_heads = 6;
  task.head_dim = format.head_dim;
  task.scale = 0.125f;
  task.landmark = Landmark::bounds;
  task.rows = 3;
  task.queries = question.queries.data();
  task.landmarks = blocks;
  task.runs = runs;
  task.scores = scores.data();
  task.lse = lse.data();
  backend_->score(*stream_, task);
  for (std::size_t i = 0; i < scores.size(); ++i) {
    const std::size_t head = i / pages / 3, row = i / pages % 3, page = i % pages;
    const BoundsView view =
        view_bounds(blocks[page / kBlockPages] + head / 3 * bounds_head_bytes(format.head_dim), format.head_dim);
    double want = 0, magnitude = 0;
    for (std::uint32_t c = 0; c < format.head_dim; ++c) {
      const double query = 0.125 * question.queries[(row * 6 + head) * format.head_dim + c];
      const std::size_t at = page % kBlockPages * format.head_dim + c;
      const double term = query * reference::decode_f16(query > 0 ? view.highs[at] : view.lows[at]);
      want += term;
      magnitude += std::abs(term);
    }
    ASSERT_NEAR(scores[i], want, reduction(2 * format.head_dim, magnitude)) << i;
  }
}

// Against what attention itself finds on each page, of blocks shifted anywhere.
TEST_P(Bounds, LimitWhatAPageWeighsWhereverItIsShown) {
  rc::check("no page weighs more than its bound", [&] {
    Random random(*rc::gen::arbitrary<std::uint32_t>());
    const KvFormat format{random.coin() ? KvType::f16 : KvType::int8, 2, 64};
    StoredContext context(*backend_, format, 6 * kBlockTokens, random);
    Question question(6, 64, {768 + random.below(5000)}, random);
    question.rope = random_rope(64, random);
    if (random.coin()) question.soft_cap = 5;
    for (float& q : question.queries) q *= static_cast<float>(1 + random.below(8));
    // Shared shifts and shifts of their own.
    for (KvBlock& block : context.blocks()) block.shift = random.coin() ? 0 : std::int64_t{random.below(3)} * 100;
    const std::vector<Stripe> stripes = context.stripes(kRoot[0]);
    std::vector<float> out(6 * 64), lse(6), page_lse(6 * 6 * kBlockPages), most(page_lse.size());
    const std::vector<Partial> parts{{out.data(), lse.data()}};
    AttendTask task;
    task.format = format;
    task.query_heads = 6;
    task.rows = 1;
    task.queries = question.queries.data();
    task.positions = question.positions.data();
    task.rope = question.rope;
    task.scale = 0.125f;
    task.soft_cap = question.soft_cap;
    task.blocks = context.blocks();
    task.stripes = stripes;
    task.nodes = kRoot;
    task.parts = parts;
    task.page_lse = page_lse.data();
    backend_->attend(*stream_, task);

    const auto bounds = bounds_of(context, question.rope);
    const std::vector<const std::byte*> blocks = views(bounds);
    std::vector<std::int64_t> distances;
    for (const KvBlock& block : context.blocks()) {
      distances.push_back(question.positions[0] - block.shift - block.first_position);
    }
    backend_->bound(*stream_, {.kv_heads = 2,
                               .query_heads = 6,
                               .head_dim = 64,
                               .rope = question.rope,
                               .scale = task.scale,
                               .soft_cap = task.soft_cap,
                               .query = task.queries,
                               .bounds = blocks,
                               .distances = distances,
                               .most = most.data()});
    for (std::size_t i = 0; i < most.size(); ++i) RC_ASSERT(page_lse[i] <= most[i]);
  });
}

// A page of one key, sixteen times: nothing is left to the bound but what rounding may add.
TEST_P(Bounds, AreTightWhereTheKeysOfAPageAreAlike) {
  Random random(7);
  const KvFormat format{KvType::f32, 1, 64};
  StoredContext context(*backend_, format, kBlockTokens, random);
  Question question(1, 64, {127}, random);
  question.rope.dims = 0;  // keys that do not turn stay alike
  for (std::uint32_t t = 1; t < kBlockTokens; ++t) {
    for (std::uint32_t c = 0; c < 64; ++c) {
      const auto key = static_cast<float>(reference::stored_key(format, context.blocks()[0].data, 0, 0, c));
      context.set_key(t, 0, c, key);
    }
  }
  double score = 0;
  for (std::uint32_t c = 0; c < 64; ++c) {
    score += 0.125 * question.queries[c] * reference::stored_key(format, context.blocks()[0].data, 0, 0, c);
  }
  const auto bounds = bounds_of(context, question.rope);
  const std::vector<const std::byte*> blocks = views(bounds);
  const std::vector<std::int64_t> distances{127};
  std::vector<float> most(kBlockPages);
  backend_->bound(*stream_, {.kv_heads = 1,
                             .query_heads = 1,
                             .head_dim = 64,
                             .rope = question.rope,
                             .scale = 0.125f,
                             .query = question.queries.data(),
                             .bounds = blocks,
                             .distances = distances,
                             .most = most.data()});
  for (const float page : most) {
    EXPECT_GE(page, score + std::log(16.0));
    EXPECT_LE(page, score + std::log(16.0) + 0.01);
  }
}

INSTANTIATE_TEST_SUITE_P(Rows, Bounds, ::testing::ValuesIn(supported_isas()), isa_name);

TEST(F16, IsRoundedOutwardToItsNeighbourAtMost) {
  rc::check("below <= value <= above, and nothing lies between them but the value", [] {
    const auto value = *rc::gen::map(rc::gen::inRange(-8000000, 8000000), [](int i) { return float(i) * 1e-5f; });
    const float above = cpu::f16_to_float(cpu::f16_above(value));
    const float below = cpu::f16_to_float(cpu::f16_below(value));
    RC_ASSERT(below <= value && value <= above);
    const float nearest = cpu::f16_to_float(cpu::float_to_f16(value));
    RC_ASSERT(nearest == above || nearest == below);
    RC_ASSERT(above - below <= std::max(std::abs(value) * 0x1p-10f, 0x1p-24f) * 1.01f);
  });
  EXPECT_EQ(cpu::f16_above(0.0f), 0);
  EXPECT_EQ(cpu::f16_to_float(cpu::f16_above(-1e-9f)), 0.0f);
  EXPECT_EQ(cpu::f16_to_float(cpu::f16_above(1e-9f)), 0x1p-24f);
  EXPECT_EQ(cpu::f16_to_float(cpu::f16_above(1e6f)), kInfinity);
}

}  // namespace
}  // namespace rotulus::kernels::tests
