// The logits of every step are hashed; the hash must not depend on ranks, threads, batch, budget, steps, strategy or
// restarts. One prompt takes every factor alone, the others a pairwise cover; scripts/same_bytes.sh runs the product.
#include "tests/support/same_bytes.h"

#include <gtest/gtest.h>

#include <set>

#include "tests/support/byte_model.h"
#include "tests/support/model_file.h"

namespace rotulus::testing {
namespace {

using worker::Strategy;

SameBytesResult run(const SameBytesRun& run) {
  return run_same_bytes(run, model_file(), std::filesystem::temp_directory_path());
}

void expect_same(const SameBytesResult& want, const SameBytesRun& changed) {
  const SameBytesResult got = run(changed);
  EXPECT_EQ(got.logits_hash, want.logits_hash) << changed.name();
  EXPECT_EQ(got.tokens, want.tokens) << changed.name();
  EXPECT_EQ(got.tokens_recomputed, 0u) << changed.name();
  if (changed.small_budget && changed.prompt_tokens >= 4000) {
    EXPECT_GT(got.blocks_loaded, 0u) << "the small budget did not bite: " << changed.name();
    EXPECT_GT(got.prefetched_used, 0u) << "nothing was read ahead: " << changed.name();
  }
}

TEST(SameBytes, EachFactorAloneLeavesNoTrace) {
  const SameBytesRun base{.prompt_tokens = 513};
  const SameBytesResult want = run(base);
  ASSERT_EQ(want.tokens.size(), base.generated_tokens);
  std::vector<SameBytesRun> changed;
  for (const std::uint32_t ranks : {2u, 3u, 4u}) changed.push_back({.prompt_tokens = 513, .ranks = ranks});
  changed.push_back({.prompt_tokens = 513, .threads = 2});
  changed.push_back({.prompt_tokens = 513, .batch = 8});
  changed.push_back({.prompt_tokens = 513, .small_budget = true});
  for (const std::uint32_t step : {37u, 128u, 512u}) changed.push_back({.prompt_tokens = 513, .step_tokens = step});
  changed.push_back({.prompt_tokens = 513, .restart = true});
  changed.push_back({.prompt_tokens = 513, .ranks = 2, .restart = true, .restart_ranks = 1});
  changed.push_back({.prompt_tokens = 513, .ranks = 2, .restart = true, .restart_ranks = 3});
  changed.push_back({.prompt_tokens = 513, .ranks = 3, .strategy = Strategy::ring});
  changed.push_back({.prompt_tokens = 513, .ranks = 3, .strategy = Strategy::gathered});
  for (const SameBytesRun& run : changed) expect_same(want, run);
}

class SameBytesOfPrompt : public ::testing::TestWithParam<std::size_t> {};

TEST_P(SameBytesOfPrompt, HoldAcrossACoverOfPairs) {
  const std::size_t prompt = GetParam();
  const SameBytesResult want = run({.prompt_tokens = prompt});
  expect_same(want,
              {.prompt_tokens = prompt, .ranks = 2, .threads = 2, .batch = 8, .small_budget = true, .restart = true});
  expect_same(want, {.prompt_tokens = prompt, .ranks = 3, .threads = 1, .batch = 8, .step_tokens = 37});
  expect_same(want, {.prompt_tokens = prompt, .ranks = 4, .threads = 2, .small_budget = true, .step_tokens = 64});
  expect_same(want, {.prompt_tokens = prompt,
                     .ranks = 2,
                     .threads = 1,
                     .step_tokens = 37,
                     .restart = true,
                     .strategy = Strategy::ring});
}

INSTANTIATE_TEST_SUITE_P(Prompts, SameBytesOfPrompt, ::testing::Values(1, 127, 128, 129));

// Each type of KV, row of the kernels and arithmetic has bytes of its own, the same on two ranks as on one.
TEST(SameBytes, HoldForEveryKvTypeIsaAndArithmetic) {
  std::vector<SameBytesRun> kinds;
  for (const kernels::KvType type : kernels::kKvTypes) kinds.push_back({.prompt_tokens = 300, .kv_type = type});
  for (const kernels::Isa isa : kernels::supported_isas()) {
    if (isa != kernels::Isa::scalar)
      kinds.push_back({.prompt_tokens = 150, .kv_type = kernels::KvType::int8, .isa = isa});
  }
  kinds.push_back({.prompt_tokens = 300, .arithmetic = kernels::Arithmetic::int8});
  std::set<std::uint64_t> hashes;
  for (SameBytesRun kind : kinds) {
    kind.generated_tokens = 8;
    const SameBytesResult want = run(kind);
    hashes.insert(want.logits_hash);
    kind.ranks = 2;
    kind.batch = 3;
    kind.step_tokens = 100;
    kind.restart = true;
    expect_same(want, kind);
  }
  EXPECT_EQ(hashes.size(), kinds.size());
}

TEST(SameBytes, HoldForALongPromptStreamedFromDisk) {
  const SameBytesResult want = run({.prompt_tokens = 4000});
  expect_same(want, {.prompt_tokens = 4000,
                     .ranks = 3,
                     .threads = 1,
                     .batch = 8,
                     .small_budget = true,
                     .step_tokens = 300,
                     .restart = true});
}

// Windows are crossed within a hundred tokens.
class SameBytesOfArchitecture : public ::testing::TestWithParam<std::pair<const char*, std::uint32_t>> {};

TEST_P(SameBytesOfArchitecture, HoldForAnyRanksAndAfterARestart) {
  const TemporaryModel model(byte_model(GetParam().first, GetParam().second), GetParam().first);
  const auto run = [&](const SameBytesRun& run) {
    return run_same_bytes(run, model.path(), std::filesystem::temp_directory_path());
  };
  constexpr std::size_t kPrompt = 700;
  const SameBytesResult want = run({.prompt_tokens = kPrompt});
  for (const SameBytesRun& changed :
       {SameBytesRun{.prompt_tokens = kPrompt, .ranks = 2, .step_tokens = 37},
        SameBytesRun{.prompt_tokens = kPrompt, .ranks = 3, .threads = 2, .strategy = Strategy::ring},
        SameBytesRun{.prompt_tokens = kPrompt, .ranks = 3, .batch = 3, .strategy = Strategy::gathered},
        SameBytesRun{.prompt_tokens = kPrompt, .ranks = 3, .restart = true, .restart_ranks = 1},
        SameBytesRun{.prompt_tokens = kPrompt, .restart = true}}) {
    const SameBytesResult got = run(changed);
    EXPECT_EQ(got.logits_hash, want.logits_hash) << changed.name();
    EXPECT_EQ(got.tokens, want.tokens) << changed.name();
    EXPECT_EQ(got.tokens_recomputed, 0u) << changed.name();
  }
}

INSTANTIATE_TEST_SUITE_P(Architectures, SameBytesOfArchitecture,
                         ::testing::Values(std::pair("llama", 48u), std::pair("qwen2", 0u), std::pair("qwen3", 0u),
                                           std::pair("gemma2", 64u), std::pair("gemma3", 80u), std::pair("phi3", 0u)),
                         [](const auto& info) { return std::string(info.param.first); });

}  // namespace
}  // namespace rotulus::testing
