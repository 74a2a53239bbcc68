// Retrieval through the whole engine: what may leave no trace, and what must.
#include <gtest/gtest.h>

#include <numeric>

#include "tests/support/model_file.h"
#include "tests/support/same_bytes.h"

namespace rotulus::testing {
namespace {

using protocol::AttentionMode;

SameBytesResult run(const SameBytesRun& run) {
  return run_same_bytes(run, model_file(), std::filesystem::temp_directory_path());
}

// A context of more than two windows of 1,024 positions, so that rows attend exactly, by window, and by retrieval.
SameBytesRun beyond_the_window() {
  SameBytesRun run;
  run.prompt_tokens = 2500;
  run.window = 1024;
  run.retrieval = {.landmark_version = 1, .exact_tokens = 1024, .local_tokens = 256};
  run.attention.mode = AttentionMode::retrieval;
  run.attention.budget_tokens = 512;
  run.attention.local_tokens = 256;
  run.question_tokens = 70;  // from position 2430: across the end of a tile
  run.generated_tokens = 24;
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
  EXPECT_EQ(want.attention.attended_tokens, 128u + (2430 - (2430 - 256) / 128 * 128) + 512);
  EXPECT_LE(want.attention.pinned_pages, 24u);
  EXPECT_LT(want.attention.attended_tokens, want.attention.context_tokens);
  std::vector<SameBytesRun> changes(7, base);
  changes[0].ranks = 2;
  changes[1].ranks = 3;
  changes[1].step_tokens = 37;
  changes[2].threads = 2;
  changes[2].batch = 4;
  changes[3].small_budget = true;
  changes[4].restart = true;
  changes[5].ranks = 2;
  changes[5].restart = true;
  changes[5].restart_ranks = 3;
  changes[6].step_tokens = 300;
  for (const SameBytesRun& change : changes) expect_same(want, change);
}

TEST(Retrieval, OfEverythingInsideTheWindowIsExactAttention) {
  SameBytesRun exact;
  exact.prompt_tokens = 1500;
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
