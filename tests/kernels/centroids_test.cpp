// Clusters of keys: each is what its members make it, and alike keys are in it; and what centroids promise of pages.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/landmarks.h"
#include "kernels/reference/reference.h"
#include "tests/kernels/fixtures.h"
#include "tests/support/tolerance.h"

namespace rotulus::kernels::tests {
namespace {

using rotulus::tests::reduction;

class Centroids : public ::testing::TestWithParam<Isa> {
 protected:
  std::unique_ptr<Backend> backend_ = make_cpu_backend(GetParam(), 2);
  std::unique_ptr<Stream> stream_ = backend_->make_stream();
};

std::vector<std::byte> clusters_of(Backend& backend, Stream& stream, StoredContext& context, const Rope& rope,
                                   std::size_t first_block, std::size_t count) {
  std::vector<std::byte> centroids(centroids_stripe_bytes(context.format()));
  std::vector<const std::byte*> blocks;
  for (std::size_t b = 0; b < count; ++b) blocks.push_back(context.blocks()[first_block + b].data);
  backend.cluster(stream, context.format(), rope, context.blocks()[first_block].first_position, blocks,
                  centroids.data());
  return centroids;
}

std::vector<double> unrotated_key(StoredContext& context, const Rope& rope, std::uint32_t head, std::size_t token) {
  const KvFormat format = context.format();
  const KvBlock& block = context.blocks()[token / kBlockTokens];
  const auto t = static_cast<std::uint32_t>(token % kBlockTokens);
  std::vector<double> key(format.head_dim);
  for (std::uint32_t c = 0; c < format.head_dim; ++c) {
    key[c] = reference::stored_key(format, block.data, head, t, c);
  }
  reference::rotate(rope, -(block.first_position + t), key.data());
  return key;
}

double distance(const std::vector<double>& a, const std::vector<double>& b) {
  double squares = 0;
  for (std::size_t c = 0; c < a.size(); ++c) squares += (a[c] - b[c]) * (a[c] - b[c]);
  return squares;
}

// Of a whole run and of one that ends with its second block.
TEST_P(Centroids, AreTheMeansOfTheirMembersWhichAreMoreAlikeThanNeighboursAre) {
  Random random(1);
  const KvFormat format{KvType::f32, 2, 32};
  const Rope rope{32, 10000.0, RopePairing::halves};
  StoredContext context(*backend_, format, 4 * kBlockTokens, random);
  for (const std::size_t blocks : {4, 2}) {
    const auto centroids = clusters_of(*backend_, *stream_, context, rope, 0, blocks);
    for (std::uint32_t head = 0; head < format.kv_heads; ++head) {
      const CentroidView view = view_centroids(centroids.data() + head * centroid_head_bytes(32), 32);
      std::vector<std::vector<double>> keys;
      for (std::size_t t = 0; t < blocks * kBlockTokens; ++t) keys.push_back(unrotated_key(context, rope, head, t));
      const auto error_of = [&](const auto& cluster_of, bool is_stored) {
        double error = 0;
        for (std::size_t cluster = 0; cluster < kStripeClusters; ++cluster) {
          std::vector<double> mean(32);
          std::size_t count = 0;
          for (std::size_t t = 0; t < keys.size(); ++t) {
            if (cluster_of(t) != cluster) continue;
            for (std::size_t c = 0; c < 32; ++c) mean[c] += keys[t][c];
            ++count;
          }
          for (std::size_t c = 0; c < 32; ++c) {
            mean[c] /= static_cast<double>(std::max<std::size_t>(1, count));
            if (!is_stored) continue;
            EXPECT_NEAR(reference::decode_f16(view.centroids[cluster * 32 + c]), mean[c], 2e-3);
          }
          for (std::size_t t = 0; t < keys.size(); ++t) {
            if (cluster_of(t) == cluster) error += distance(keys[t], mean);
          }
        }
        return error;
      };
      const double of_clusters = error_of([&](std::size_t t) { return std::size_t{view.members[t]}; }, true);
      const double of_neighbours = error_of([&](std::size_t t) { return t * kStripeClusters / keys.size(); }, false);
      EXPECT_LT(of_clusters, of_neighbours);
      for (std::size_t t = keys.size(); t < kStripeTokens; ++t) ASSERT_EQ(view.members[t], 0);
    }
  }
}

TEST_P(Centroids, HaveTheSameBytesForAnyNumberOfThreads) {
  Random random(2);
  const KvFormat format{KvType::int8, 3, 64};
  const Rope rope{64, 10000.0, RopePairing::neighbours};
  StoredContext context(*backend_, format, 4 * kBlockTokens, random);
  const auto one_thread = make_cpu_backend(GetParam(), 1);
  EXPECT_EQ(clusters_of(*backend_, *stream_, context, rope, 0, 4),
            clusters_of(*one_thread, *stream_, context, rope, 0, 4));
}

// Over blocks of two stripes, the first of which lacks some; and whatever the bytes are.
TEST_P(Centroids, ScoreAPageByTheBestOfItsKeys) {
  Random random(3);
  const KvFormat format{KvType::f16, 2, 64};
  StoredContext context(*backend_, format, 8 * kBlockTokens, random);
  const Question question(6, format.head_dim, {2000, 2001, 2002}, random);
  auto first = clusters_of(*backend_, *stream_, context, question.rope, 0, 4);
  std::byte* members = first.data() + centroid_head_bytes(format.head_dim) - kStripeTokens;  // of the first head
  for (std::size_t t = 0; t < kStripeTokens; t += 3) members[t] |= std::byte{0xe0};
  const auto second = clusters_of(*backend_, *stream_, context, question.rope, 4, 4);
  const std::vector<std::uint8_t> places{1, 3, 0, 1, 2, 3};
  const std::vector<const std::byte*> stripes{first.data(),  first.data(),  second.data(),
                                              second.data(), second.data(), second.data()};
  const std::vector<PageRun> runs{{0, 6}};
  const std::size_t pages = stripes.size() * kBlockPages;
  std::vector<float> scores(question.query_heads * 3 * pages);
  std::vector<float> lse(question.query_heads * 3);
  ScoreTask task;
  task.kv_heads = format.kv_heads;
  task.query_heads = question.query_heads;
  task.head_dim = format.head_dim;
  task.scale = 0.125f;
  task.landmark = Landmark::centroid;
  task.rows = 3;
  task.queries = question.queries.data();
  task.landmarks = stripes;
  task.places = places;
  task.runs = runs;
  task.scores = scores.data();
  task.lse = lse.data();
  backend_->score(*stream_, task);
  for (std::size_t i = 0; i < scores.size(); ++i) {
    const std::size_t page = i % pages, row = i / pages % 3, head = i / pages / 3;
    const std::size_t block = page / kBlockPages;
    const CentroidView view =
        view_centroids(stripes[block] + head / 3 * centroid_head_bytes(format.head_dim), format.head_dim);
    const float* query = question.queries.data() + (row * question.query_heads + head) * format.head_dim;
    double best = -1e30, magnitude = 0;
    for (std::size_t t = 0; t < kPageTokens; ++t) {
      const std::size_t token = places[block] * kBlockTokens + page % kBlockPages * kPageTokens + t;
      const std::size_t member = view.members[token] % kStripeClusters;
      double sum = 0, terms = 0;
      for (std::size_t c = 0; c < format.head_dim; ++c) {
        const double term = 0.125 * query[c] * reference::decode_f16(view.centroids[member * format.head_dim + c]);
        sum += term;
        terms += std::abs(term);
      }
      best = std::max(best, sum);
      magnitude = std::max(magnitude, terms);
    }
    ASSERT_NEAR(scores[i], best, reduction(format.head_dim, magnitude)) << i;
  }
}

INSTANTIATE_TEST_SUITE_P(Rows, Centroids, ::testing::ValuesIn(supported_isas()), isa_name);

}  // namespace
}  // namespace rotulus::kernels::tests
