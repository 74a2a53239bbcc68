// Landmarks against the keys they stand for, and the verbs on them against a sum in double over the same landmarks.
#include "kernels/landmarks.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/reference/reference.h"
#include "tests/kernels/fixtures.h"
#include "tests/support/tolerance.h"

namespace rotulus::kernels::tests {
namespace {

using rotulus::tests::reduction;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

class Landmarks : public ::testing::TestWithParam<Isa> {
 protected:
  std::unique_ptr<Backend> backend_ = make_cpu_backend(GetParam(), 2);
  std::unique_ptr<Stream> stream_ = backend_->make_stream();
};

// The landmarks of all complete blocks of a context.
struct Summary {
  KvFormat format;
  std::vector<std::vector<std::byte>> blocks;
  std::vector<const std::byte*> views;

  Summary(Backend& backend, Stream& stream, StoredContext& context, const Rope& rope) : format(context.format()) {
    for (const KvBlock& block : context.blocks()) {
      if (block.token_count < kBlockTokens) continue;
      blocks.emplace_back(landmark_block_bytes(format));
      backend.summarize(stream, format, rope, block.first_position, block.data, blocks.back().data(), nullptr);
    }
    for (const auto& block : blocks) views.push_back(block.data());
  }

  // Channel c of token t's key, as the landmarks of block b have it.
  double key(std::size_t b, std::uint32_t head, std::uint32_t t, std::uint32_t c) const {
    const LandmarkView view = view_landmarks(views[b] + head * landmark_head_bytes(format.head_dim), format.head_dim);
    const std::size_t at = std::size_t{t / kPageTokens} * format.head_dim + c;
    return reference::decode_f16(view.means[at]) +
           double(decode_scale(view.scales[c])) * kSketchLevels[view.sketch[at] >> 2 * (t % kPageTokens) & 3u];
  }
};

struct Scored {
  std::vector<float> scores;
  std::vector<float> lse;
};

Scored score(Backend& backend, Stream& stream, const Summary& summary, const Question& question, std::size_t first_row,
             std::size_t rows, std::vector<PageRun> runs, Landmark landmark = Landmark::sketch,
             std::span<const std::uint8_t> head_masks = {}) {
  const std::size_t pages = summary.views.size() * kBlockPages;
  Scored scored{std::vector<float>(question.query_heads * rows * pages),
                std::vector<float>(runs.size() * question.query_heads * rows)};
  ScoreTask task;
  task.kv_heads = summary.format.kv_heads;
  task.query_heads = question.query_heads;
  task.head_dim = summary.format.head_dim;
  task.scale = 0.125f;
  task.landmark = landmark;
  task.rows = rows;
  task.queries = question.queries.data() + first_row * question.query_heads * summary.format.head_dim;
  task.landmarks = summary.views;
  task.head_masks = head_masks;
  task.runs = runs;
  task.scores = scored.scores.data();
  task.lse = scored.lse.data();
  backend.score(stream, task);
  return scored;
}

// A quantizer of four levels leaves 0.1175 of the variance of a normal variable: a third of its deviation.
TEST_P(Landmarks, KeepAKeyWithinAThirdOfItsDeviationFromThePagesMean) {
  Random random(1);
  const KvFormat format{KvType::f32, 2, 64};
  const Rope rope{64, 10000.0, RopePairing::halves};
  StoredContext context(*backend_, format, 300, random);
  const Summary summary(*backend_, *stream_, context, rope);
  ASSERT_EQ(summary.views.size(), 2u);
  double error = 0, deviation = 0;
  for (std::size_t b = 0; b < 2; ++b) {
    for (std::uint32_t head = 0; head < format.kv_heads; ++head) {
      std::vector<std::vector<double>> keys(kBlockTokens, std::vector<double>(format.head_dim));
      for (std::uint32_t t = 0; t < kBlockTokens; ++t) {
        for (std::uint32_t c = 0; c < format.head_dim; ++c) {
          keys[t][c] = reference::stored_key(format, context.blocks()[b].data, head, t, c);
        }
        reference::rotate(rope, -(context.blocks()[b].first_position + t), keys[t].data());
      }
      for (std::uint32_t c = 0; c < format.head_dim; ++c) {
        for (std::uint32_t page = 0; page < kBlockPages; ++page) {
          double mean = 0;
          for (std::uint32_t t = 0; t < kPageTokens; ++t) mean += keys[page * kPageTokens + t][c] / kPageTokens;
          const LandmarkView view =
              view_landmarks(summary.views[b] + head * landmark_head_bytes(format.head_dim), format.head_dim);
          ASSERT_NEAR(reference::decode_f16(view.means[page * format.head_dim + c]), mean, 1e-3);
          for (std::uint32_t t = page * kPageTokens; t < (page + 1) * kPageTokens; ++t) {
            error += std::pow(keys[t][c] - summary.key(b, head, t, c), 2);
            deviation += std::pow(keys[t][c] - mean, 2);
          }
        }
      }
    }
  }
  EXPECT_LT(std::sqrt(error / deviation), 0.36);
}

// What a page's landmark promises to a query, in double, and the sum of the magnitudes of its terms.
struct Promise {
  double score = 0;
  double magnitude = 0;
};
Promise promise(const Summary& summary, Landmark landmark, std::size_t page, std::uint32_t head, const float* query) {
  const auto first = static_cast<std::uint32_t>(page % kBlockPages * kPageTokens);
  const std::size_t block = page / kBlockPages;
  const LandmarkView view = view_landmarks(summary.views[block] + head * landmark_head_bytes(summary.format.head_dim),
                                           summary.format.head_dim);
  Promise best{-kInfinity, 0};
  Promise sum;
  for (std::uint32_t t = first; t < first + kPageTokens; ++t) {
    Promise token;
    for (std::uint32_t c = 0; c < summary.format.head_dim; ++c) {
      const double term = 0.125 * query[c] * summary.key(block, head, t, c);
      token.score += term;
      token.magnitude += std::abs(term);
    }
    best = {std::max(best.score, token.score), std::max(best.magnitude, token.magnitude)};
  }
  if (landmark == Landmark::sketch) return best;
  for (std::uint32_t c = 0; c < summary.format.head_dim; ++c) {
    double term =
        0.125 * query[c] * reference::decode_f16(view.means[page % kBlockPages * summary.format.head_dim + c]);
    if (landmark == Landmark::sketched_bounds) {
      term = -kInfinity;
      for (std::uint32_t t = first; t < first + kPageTokens; ++t) {
        term = std::max(term, 0.125 * query[c] * summary.key(block, head, t, c));
      }
    }
    sum = {sum.score + term, sum.magnitude + std::abs(term)};
  }
  return sum;
}

TEST_P(Landmarks, ScoreEachPageAsTheReferenceDoes) {
  for (const Landmark landmark : {Landmark::sketch, Landmark::mean, Landmark::sketched_bounds}) {
    Random random(2);
    const KvFormat format{KvType::f16, 2, 80};
    StoredContext context(*backend_, format, 10 * kBlockTokens + 7, random);
    const Question question(6, format.head_dim, {700, 701, 702, 703, 704}, random);
    const Summary summary(*backend_, *stream_, context, question.rope);
    const std::size_t pages = summary.views.size() * kBlockPages;
    const Scored scored = score(*backend_, *stream_, summary, question, 0, 5, {{0, 2}, {2, 0}, {2, 8}}, landmark);
    for (std::uint32_t h = 0; h < question.query_heads; ++h) {
      for (std::size_t row = 0; row < 5; ++row) {
        const float* query = question.queries.data() + (row * question.query_heads + h) * format.head_dim;
        double sums[3] = {};
        for (std::size_t page = 0; page < pages; ++page) {
          const Promise want = promise(summary, landmark, page, h / 3, query);
          ASSERT_NEAR(scored.scores[(h * 5 + row) * pages + page], want.score,
                      reduction(2 * format.head_dim, want.magnitude));
          sums[page < 2 * kBlockPages ? 0 : 2] += std::exp(want.score);
        }
        ASSERT_NEAR(scored.lse[h * 5 + row], std::log(sums[0]), 1e-5);
        ASSERT_EQ(scored.lse[(question.query_heads + h) * 5 + row], -kInfinity);
        ASSERT_NEAR(scored.lse[(2 * question.query_heads + h) * 5 + row], std::log(sums[2]), 1e-5);
      }
    }
  }
}

// … and those of a mask to the same bits, whatever else is scored with them.
TEST_P(Landmarks, ScoreThePagesOfAMaskAlone) {
  for (const Landmark landmark : {Landmark::sketch, Landmark::mean, Landmark::sketched_bounds}) {
    Random random(7);
    const KvFormat format{KvType::f16, 2, 64};
    StoredContext context(*backend_, format, 21 * kBlockTokens, random);
    const Question question(6, format.head_dim, {3000, 3001, 3002}, random);
    const Summary summary(*backend_, *stream_, context, question.rope);
    const std::size_t pages = summary.views.size() * kBlockPages;
    std::vector<std::uint8_t> masks;
    for (std::size_t i = 0; i < 2 * summary.views.size(); ++i) {
      masks.push_back(static_cast<std::uint8_t>(random.below(4) == 0 ? 0 : random.below(256)));
    }
    const std::vector<PageRun> runs{{0, 21}};
    const Scored all = score(*backend_, *stream_, summary, question, 0, 3, runs, landmark);
    const Scored some = score(*backend_, *stream_, summary, question, 0, 3, runs, landmark, masks);
    for (std::size_t i = 0; i < all.scores.size(); ++i) {
      const std::size_t page = i % pages;
      const std::size_t kv_head = i / pages / 3 / 3;
      const bool takes_part = (masks[page / kBlockPages * 2 + kv_head] >> page % kBlockPages & 1u) != 0;
      ASSERT_EQ(some.scores[i], takes_part ? all.scores[i] : -kInfinity) << i;
    }
    for (std::size_t list = 0; list < all.lse.size(); ++list) {
      double sum = 0;
      for (std::size_t page = 0; page < pages; ++page) sum += std::exp(double(some.scores[list * pages + page]));
      ASSERT_NEAR(some.lse[list], std::log(sum), 1e-5);
    }
  }
}

TEST_P(Landmarks, ScoreARowAlikeWhoeverSharesTheCall) {
  for (const Landmark landmark : {Landmark::sketch, Landmark::mean, Landmark::sketched_bounds}) {
    Random random(3);
    const KvFormat format{KvType::f16, 1, 64};
    StoredContext context(*backend_, format, 40 * kBlockTokens, random);
    std::vector<std::int64_t> positions(20, 6000);
    const Question question(3, format.head_dim, positions, random);
    const auto one_thread = make_cpu_backend(GetParam(), 1);
    const Summary summary(*backend_, *stream_, context, question.rope);
    const std::size_t pages = summary.views.size() * kBlockPages;
    const Scored all = score(*backend_, *stream_, summary, question, 0, 20, {{0, 40}}, landmark);
    const Scored one = score(*one_thread, *stream_, summary, question, 13, 1, {{0, 40}}, landmark);
    for (std::uint32_t h = 0; h < 3; ++h) {
      EXPECT_EQ(std::memcmp(&all.scores[(h * 20 + 13) * pages], &one.scores[h * pages], pages * sizeof(float)), 0);
      EXPECT_EQ(all.lse[h * 20 + 13], one.lse[h]);
    }
  }
}

TEST_P(Landmarks, SumToTheSameBitsHoweverTheTreeIsCut) {
  rc::check("any cut of the lanes gives the root's bits", [&] {
    Random random(*rc::gen::arbitrary<std::uint32_t>());
    std::vector<std::vector<float>> lanes(256, std::vector<float>(5, -kInfinity));
    for (auto& lane : lanes) {
      if (random.coin()) lane = random.normals(5);
    }
    const auto merged = [&](std::uint32_t first, std::uint32_t size) {
      std::vector<LaneSpan> nodes;
      std::vector<const float*> parts;
      for (std::uint32_t lane = first; lane < first + size; ++lane) {
        nodes.push_back({lane, 1});
        parts.push_back(lanes[lane].data());
      }
      std::vector<float> into(5);
      backend_->merge_sums(*stream_, 5, nodes, parts, into.data());
      return into;
    };
    const std::uint32_t size = 256u >> random.between(1, 6);
    std::vector<std::vector<float>> inner;
    std::vector<LaneSpan> nodes;
    std::vector<const float*> parts;
    for (std::uint32_t first = 0; first < 256; first += size) {
      inner.push_back(merged(first, size));
      nodes.push_back({first, size});
    }
    for (const auto& part : inner) parts.push_back(part.data());
    std::vector<float> into(5);
    backend_->merge_sums(*stream_, 5, nodes, parts, into.data());
    const std::vector<float> root = merged(0, 256);
    RC_ASSERT(std::memcmp(into.data(), root.data(), 5 * sizeof(float)) == 0);
  });
}

TEST_P(Landmarks, VoteForAPageByTheHighestShareThatAnyRowAndHeadGives) {
  Random random(4);
  const std::size_t rows = 7, pages = 1000;
  const std::uint32_t query_heads = 6, kv_heads = 2;
  const std::vector<float> scores = random.normals(query_heads * rows * pages);
  const std::vector<float> lse = random.normals(query_heads * rows);
  std::vector<float> votes(kv_heads * pages, -kInfinity);
  votes[3] = 100.0f;
  VoteTask task;
  task.kv_heads = kv_heads;
  task.query_heads = query_heads;
  task.rows = rows;
  task.pages = pages;
  task.scores = scores.data();
  task.lse = lse.data();
  task.votes = votes.data();
  backend_->vote(*stream_, task);
  EXPECT_EQ(votes[3], 100.0f);
  for (std::size_t i = 4; i < kv_heads * pages; ++i) {
    float best = -kInfinity;
    for (std::size_t row_head = 0; row_head < 3 * rows; ++row_head) {
      const std::size_t at = i / pages * 3 * rows + row_head;
      best = std::max(best, scores[at * pages + i % pages] - lse[at]);
    }
    ASSERT_EQ(votes[i], best) << i;
  }
}

TEST_P(Landmarks, VoteForAPageByTheSumOfTheSharesOfItsRowsAndHeads) {
  Random random(6);
  const std::size_t rows = 5, pages = 1000;
  const std::uint32_t query_heads = 6, kv_heads = 2;
  const std::vector<float> scores = random.normals(query_heads * rows * pages);
  const std::vector<float> lse = random.normals(query_heads * rows);
  std::vector<float> votes(kv_heads * pages, -kInfinity);
  VoteTask task{VoteRule::sum, kv_heads, query_heads, rows, pages, scores.data(), lse.data(), votes.data()};
  backend_->vote(*stream_, task);
  for (std::size_t i = 0; i < kv_heads * pages; ++i) {
    double sum = 0;
    for (std::size_t row_head = 0; row_head < 3 * rows; ++row_head) {
      const std::size_t at = i / pages * 3 * rows + row_head;
      sum += std::exp(double(scores[at * pages + i % pages]) - lse[at]);
    }
    ASSERT_NEAR(votes[i], std::log(sum), 1e-5) << i;
  }
}

TEST_P(Landmarks, CountTheFewestPagesThatHoldAShare) {
  const std::vector<float> logs{std::log(0.5f), std::log(0.3f), std::log(0.15f), std::log(0.05f)};
  const auto count = [&](float total, float share) {
    std::size_t counted = 99;
    backend_->count_share(*stream_, logs, total, share, counted);
    return counted;
  };
  EXPECT_EQ(count(0, 0.4f), 1u);
  EXPECT_EQ(count(0, 0.79f), 2u);
  EXPECT_EQ(count(0, 0.81f), 3u);
  EXPECT_EQ(count(std::log(2.0f), 0.3f), 2u) << "of the total, not of what is listed";
  EXPECT_EQ(count(std::log(2.0f), 0.9f), 4u) << "all, where they do not hold it";
}

// A mask for each KV head is to that head what the same mask for all heads would be.
TEST_P(Landmarks, SelectPagesForEachKvHeadByItself) {
  Random random(5);
  const KvFormat format{KvType::f16, 2, 64};
  StoredContext context(*backend_, format, 9 * kBlockTokens, random);
  const Question question(4, format.head_dim, {1200, 1201}, random);
  std::vector<std::array<std::uint8_t, 2>> masks;
  for (std::size_t b = 0; b < context.blocks().size(); ++b) {
    masks.push_back({static_cast<std::uint8_t>(random.below(256)), static_cast<std::uint8_t>(random.below(4))});
  }
  for (std::size_t b = 0; b < masks.size(); ++b) context.blocks()[b].head_masks = masks[b].data();
  const Answer both = ask(*backend_, context, question, kRoot);
  for (std::uint32_t head = 0; head < 2; ++head) {
    for (std::size_t b = 0; b < masks.size(); ++b) {
      context.blocks()[b].head_masks = nullptr;
      context.blocks()[b].page_mask = masks[b][head];
    }
    const Answer alone = ask(*backend_, context, question, kRoot);
    for (std::size_t row = 0; row < 2; ++row) {
      const std::size_t first = row * 4 + head * 2;
      EXPECT_EQ(std::memcmp(&both.out[0][first * 64], &alone.out[0][first * 64], 2 * 64 * sizeof(float)), 0);
      EXPECT_EQ(both.lse[0][first], alone.lse[0][first]);
    }
  }
}

TEST(LandmarkScales, AreKeptToASixteenthOrSaturate) {
  EXPECT_EQ(decode_scale(encode_scale(0.0f)), 0.0f);
  EXPECT_EQ(decode_scale(encode_scale(1e9f)), decode_scale(255));
  for (float scale = 1e-4f; scale < 5e4f; scale *= 1.01f) {
    ASSERT_NEAR(decode_scale(encode_scale(scale)) / scale, 1.0, 1.0 / 16 + 1e-6) << scale;
  }
}

INSTANTIATE_TEST_SUITE_P(Rows, Landmarks, ::testing::ValuesIn(supported_isas()), isa_name);

}  // namespace
}  // namespace rotulus::kernels::tests
