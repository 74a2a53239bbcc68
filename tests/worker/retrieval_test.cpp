// Retrieval through the whole engine: what may leave no trace, and what must.
#include <gtest/gtest.h>

#include <unistd.h>

#include <cstring>
#include <numeric>

#include "kernels/landmarks.h"
#include "tests/support/local_group.h"
#include "tests/support/model_file.h"
#include "tests/support/same_bytes.h"

namespace rotulus::testing {
namespace {

using protocol::AttentionMode;

SameBytesResult run(const SameBytesRun& run) {
  return run_same_bytes(run, model_file(), std::filesystem::temp_directory_path());
}

constexpr std::uint64_t kContextTokens = 1230;

// A context of more than two windows of 512 positions, so that rows attend exactly, by window, and by retrieval.
SameBytesRun beyond_the_window() {
  SameBytesRun run;
  run.question_tokens = 70;  // across the end of a tile
  run.prompt_tokens = kContextTokens + run.question_tokens;
  run.window = 512;
  run.retrieval = {.landmark_version = 1, .exact_tokens = 512, .local_tokens = 128};
  run.attention.mode = AttentionMode::retrieval;
  run.attention.budget_tokens = 256;
  run.attention.local_tokens = 128;
  run.generated_tokens = 12;  // two selections and a part of one
  return run;
}

void expect_same(const SameBytesResult& want, const SameBytesRun& changed) {
  const SameBytesResult got = run(changed);
  EXPECT_EQ(got.logits_hash, want.logits_hash) << changed.name();
  EXPECT_EQ(got.tokens, want.tokens) << changed.name();
  EXPECT_EQ(got.attention, want.attention) << changed.name();
}

TEST(Retrieval, GivesTheSameBytesHoweverItIsRun) {
  const SameBytesRun base = beyond_the_window();
  const SameBytesResult want = run(base);
  ASSERT_EQ(want.tokens.size(), base.generated_tokens);
  EXPECT_EQ(want.attention.mode, AttentionMode::retrieval);
  EXPECT_TRUE(want.attention.second_pass);
  EXPECT_GT(want.attention.pinned_pages, 0u);
  EXPECT_FALSE(want.attention.evidence.empty());
  // Sinks, the window with the block it begins in, and the budget: pins fill at most three quarters of it.
  EXPECT_EQ(want.attention.attended_tokens, 128 + kContextTokens - (kContextTokens - 128) / 128 * 128 + 256);
  EXPECT_LE(want.attention.pinned_pages, 12u);
  EXPECT_LT(want.attention.attended_tokens, want.attention.context_tokens);
  std::vector<SameBytesRun> changes(4, base);
  changes[0].ranks = 3;
  changes[0].step_tokens = 37;
  changes[1].threads = 2;
  changes[1].batch = 4;
  changes[2].small_budget = changes[2].restart = true;
  changes[2].step_tokens = 300;
  changes[3].ranks = 2;
  changes[3].restart = true;
  changes[3].restart_ranks = 3;
  for (const SameBytesRun& change : changes) expect_same(want, change);
}

// Of keys, told with what they say of what was left out; the sketches beside them leave no trace.
TEST(Retrieval, ByBoundsGivesTheSameBytesHoweverItIsRun) {
  SameBytesRun base = beyond_the_window();
  base.generated_tokens = 8;
  base.retrieval.landmarks = protocol::kKnownLandmarks;
  base.attention.landmark = protocol::PageLandmark::bounds;
  base.attention.wants_missed_mass = true;
  const SameBytesResult want = run(base);
  EXPECT_EQ(want.attention.landmark, protocol::PageLandmark::bounds);
  ASSERT_TRUE(want.attention.missed_mass && want.attention.missed_mass->is_bounded);
  std::vector<SameBytesRun> changes(2, base);
  changes[0].ranks = 2;
  changes[0].small_budget = changes[0].restart = true;
  changes[0].restart_ranks = 3;
  changes[0].step_tokens = 200;
  changes[1].retrieval.landmarks = protocol::kKeepsBounds;
  for (const SameBytesRun& change : changes) expect_same(want, change);
  SameBytesRun of_sketches = base;
  of_sketches.retrieval.landmarks = protocol::kDefaultLandmarks;
  const SameBytesResult other = run(of_sketches);
  EXPECT_EQ(other.attention.landmark, protocol::PageLandmark::sketched_bounds);
  EXPECT_FALSE(other.attention.missed_mass->is_bounded);
  EXPECT_NE(other.logits_hash, want.logits_hash);
}

// What is stored is what anyone makes of the stored keys again.
TEST(Retrieval, KeepsLandmarksAndBoundsThatAreMadeAgainFromTheKeys) {
  const auto store = std::filesystem::temp_directory_path() / fmt::format("landmarks-{}", ::getpid());
  LocalGroupConfig config{.model_path = model_file(), .store_path = store, .window = 512};
  config.retrieval = {1, 512, 128, protocol::kKnownLandmarks};
  {
    LocalGroup group(config);
    const auto& h = group.model().hyperparameters;
    const auto records = group.commit_context({7}, make_prompt(1024 + 300, h.vocabulary));
    const kernels::KvFormat format{config.kv_type, h.kv_heads, h.head_dim};
    const auto backend = kernels::make_cpu_backend(kernels::Isa::automatic, 1);
    const auto stream = backend->make_stream();
    const protocol::VolumeId volume = group.store(0).volumes().at(0).volume;
    using memory_store::BlockKind;
    const auto stored = [&](std::uint32_t block, BlockKind kind) {
      return group.store(0).pin(std::vector<memory_store::BlockAddress>{
          {.object = records[0].object, .layer = h.layers - 1, .block = block, .volume = volume, .kind = kind}});
    };
    std::vector<std::byte> landmarks(kernels::landmark_block_bytes(format));
    std::vector<std::byte> bounds(kernels::bounds_block_bytes(format));
    for (std::uint32_t first : {0u, 4u, 8u}) {  // of the last run two blocks are complete
      std::vector<memory_store::PinnedBlocks> keys;
      std::vector<const std::byte*> blocks;
      for (std::uint32_t block = first; block < std::min(first + 4, 10u); ++block) {
        blocks.push_back(keys.emplace_back(stored(block, BlockKind::kv))[0]);
      }
      std::vector<std::byte> centroids(kernels::centroids_stripe_bytes(format));
      backend->cluster(*stream, format, h.attention_of(h.layers - 1).rope, std::int64_t{first} * 128, blocks,
                       centroids.data());
      EXPECT_EQ(std::memcmp(stored(first, BlockKind::centroids)[0], centroids.data(), centroids.size()), 0) << first;
    }
    for (std::uint32_t block = 0; block < 10; ++block) {
      const auto keys = stored(block, BlockKind::kv);
      backend->summarize(*stream, format, h.attention_of(h.layers - 1).rope, std::int64_t{block} * 128, keys[0],
                         landmarks.data(), bounds.data());
      const auto kept_landmarks = stored(block / 4 * 4, BlockKind::landmarks);
      const auto kept_bounds = stored(block / 4 * 4, BlockKind::bounds);
      EXPECT_EQ(std::memcmp(kept_landmarks[0] + block % 4 * landmarks.size(), landmarks.data(), landmarks.size()), 0);
      EXPECT_EQ(std::memcmp(kept_bounds[0] + block % 4 * bounds.size(), bounds.data(), bounds.size()), 0) << block;
    }
  }
  std::filesystem::remove_all(store);
}

TEST(Retrieval, OfEverythingInsideTheWindowIsExactAttention) {
  SameBytesRun exact;
  exact.prompt_tokens = 700;
  exact.generated_tokens = 16;
  SameBytesRun retrieval = exact;
  retrieval.retrieval = {.landmark_version = 1, .exact_tokens = 8192, .local_tokens = 2048};
  retrieval.attention.mode = AttentionMode::retrieval;
  retrieval.attention.budget_tokens = 4096;
  retrieval.attention.local_tokens = 128;
  SameBytesResult got;
  // Within a tile of rows, and over several in one step or in many.
  for (const std::size_t question_tokens : {5, 300}) {
    exact.question_tokens = retrieval.question_tokens = question_tokens;
    const SameBytesResult want = run(exact);
    EXPECT_EQ(want.attention.mode, AttentionMode::exact);
    for (const std::uint32_t step_tokens : {100, 512}) {
      retrieval.step_tokens = step_tokens;
      got = run(retrieval);
      EXPECT_EQ(got.logits_hash, want.logits_hash) << retrieval.name();
      EXPECT_EQ(got.tokens, want.tokens) << retrieval.name();
    }
  }
  EXPECT_EQ(got.attention.attended_tokens, got.attention.context_tokens);
  EXPECT_EQ(got.attention.mode, AttentionMode::retrieval);
}

TEST(Retrieval, WithoutPinsOrWithASmallerBudgetReadsOtherKeys) {
  SameBytesRun given = beyond_the_window();
  given.generated_tokens = 8;
  const SameBytesResult want = run(given);
  SameBytesRun one_pass = given;
  one_pass.attention.second_pass = false;
  const SameBytesResult without = run(one_pass);
  EXPECT_EQ(without.attention.pinned_pages, 0u);
  EXPECT_TRUE(without.attention.evidence.empty());
  EXPECT_NE(without.logits_hash, want.logits_hash);
  one_pass.attention.budget_tokens = 64;
  EXPECT_NE(run(one_pass).logits_hash, without.logits_hash);
}

// Exact attention can tell what it read as well; telling leaves no trace.
TEST(Retrieval, TellsEvidenceOfExactAttentionWithoutATrace) {
  SameBytesRun silent;
  silent.prompt_tokens = 700;
  silent.question_tokens = 100;  // from position 600: across the end of a tile
  silent.step_tokens = 512;
  silent.generated_tokens = 8;
  SameBytesRun telling = silent;
  telling.attention.wants_provenance = true;
  const SameBytesResult want = run(silent);
  const SameBytesResult got = run(telling);
  EXPECT_EQ(got.logits_hash, want.logits_hash);
  ASSERT_FALSE(got.attention.evidence.empty());
  for (const protocol::Evidence& evidence : got.attention.evidence) {
    EXPECT_LT(evidence.range.begin, evidence.range.end);
    EXPECT_LE(evidence.range.end, 600u);
    EXPECT_GT(evidence.mass, 0.0f);
    EXPECT_LE(evidence.mass, 1.001f);
  }
  telling.ranks = 3;
  EXPECT_EQ(run(telling).attention, got.attention);
}

}  // namespace
}  // namespace rotulus::testing
