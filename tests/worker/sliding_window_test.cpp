// Layers that slide, over contexts of several chunks: what the store keeps of them, and that nothing needs the rest. A
// block that is needed and was dropped cannot be read, which fails the answer; so runs that end well prove it.
#include <gtest/gtest.h>
#include <unistd.h>
#include <xxhash.h>

#include <map>

#include "protocol/kv_cost.h"
#include "tests/support/byte_model.h"
#include "tests/support/local_group.h"
#include "tests/support/same_bytes.h"

namespace rotulus::testing {
namespace {

using protocol::AttentionMode;
using protocol::ContextId;
using worker::Strategy;

constexpr std::uint32_t kModelWindow = 32'768;
constexpr ContextId kContext{7};

struct SlidingModel {
  const char* architecture;
  std::uint32_t window;
  AttentionMode mode = AttentionMode::exact;
};

class SlidingWindows : public ::testing::TestWithParam<SlidingModel> {};

SameBytesRun long_run(AttentionMode mode) {
  SameBytesRun run;
  run.prompt_tokens = 2 * protocol::kChunkTokens + 700;
  run.generated_tokens = 16;
  run.window = kModelWindow;
  if (mode == AttentionMode::retrieval) {
    run.window = 1024;
    run.retrieval = {.landmark_version = protocol::kLandmarkVersion, .exact_tokens = 1024, .local_tokens = 256};
    run.attention = {.mode = mode, .budget_tokens = 256, .local_tokens = 256};
  }
  return run;
}

TEST_P(SlidingWindows, LeaveNoTraceOfChunksRanksAndRestarts) {
  const TemporaryModel model(byte_model(GetParam().architecture, GetParam().window), "sliding");
  const auto run = [&](const SameBytesRun& run) {
    return run_same_bytes(run, model.path(), std::filesystem::temp_directory_path());
  };
  const SameBytesRun base = long_run(GetParam().mode);
  const SameBytesResult want = run(base);
  ASSERT_EQ(want.tokens.size(), base.generated_tokens);
  EXPECT_EQ(want.attention.mode, GetParam().mode);
  std::vector<SameBytesRun> changes(5, base);
  changes[0].ranks = 2;
  changes[0].step_tokens = 300;
  changes[1].ranks = 3;
  changes[1].strategy = Strategy::ring;
  changes[1].batch = 3;
  changes[2].ranks = 3;
  changes[2].strategy = Strategy::gathered;
  changes[2].small_budget = true;
  changes[3].ranks = 2;
  changes[3].restart = true;
  changes[3].restart_ranks = 3;
  changes[4].ranks = 3;
  changes[4].restart = true;
  changes[4].restart_ranks = 1;
  for (const SameBytesRun& changed : changes) {
    const SameBytesResult got = run(changed);
    EXPECT_EQ(got.logits_hash, want.logits_hash) << changed.name();
    EXPECT_EQ(got.tokens, want.tokens) << changed.name();
    EXPECT_EQ(got.tokens_recomputed, 0u) << changed.name();
  }
}

// A window of a page, of several blocks, and of more than a chunk; layers that all slide; retrieval in those that do
// not.
INSTANTIATE_TEST_SUITE_P(Models, SlidingWindows,
                         ::testing::Values(SlidingModel{"gemma3", 16}, SlidingModel{"gemma3", 500},
                                           SlidingModel{"gemma2", 5000}, SlidingModel{"llama", 300},
                                           SlidingModel{"gemma3", 500, AttentionMode::retrieval},
                                           SlidingModel{"llama", 300, AttentionMode::retrieval}),
                         [](const auto& info) {
                           return fmt::format("{}_{}{}", info.param.architecture, info.param.window,
                                              info.param.mode == AttentionMode::retrieval ? "_retrieval" : "");
                         });

// The window of the layers that slide is longer than the local window of the request: it must not shorten theirs.
TEST(SlidingWindows, AreNoMatterOfRetrieval) {
  const TemporaryModel model(byte_model("gemma3", 500), "retrieval");
  const auto run = [&](const SameBytesRun& run) {
    return run_same_bytes(run, model.path(), std::filesystem::temp_directory_path());
  };
  SameBytesRun exact;
  exact.prompt_tokens = 1500;
  exact.generated_tokens = 16;
  exact.window = kModelWindow;
  SameBytesRun retrieval = exact;
  retrieval.ranks = 2;
  retrieval.retrieval = {.landmark_version = protocol::kLandmarkVersion, .exact_tokens = 8192, .local_tokens = 2048};
  retrieval.attention = {.mode = AttentionMode::retrieval, .budget_tokens = 4096, .local_tokens = 128};
  SameBytesRun told = exact;
  told.attention.wants_provenance = true;
  const SameBytesResult want = run(exact);
  const SameBytesResult of_everything = run(retrieval);
  EXPECT_EQ(of_everything.attention.mode, AttentionMode::retrieval);
  EXPECT_EQ(of_everything.logits_hash, want.logits_hash);
  const SameBytesResult with_evidence = run(told);
  EXPECT_FALSE(with_evidence.attention.evidence.empty());
  EXPECT_EQ(with_evidence.logits_hash, want.logits_hash);
}

// A group over a model of six gemma3 layers, of which five slide.
class GroupOfGemma {
 public:
  explicit GroupOfGemma(std::uint32_t window, std::uint32_t ranks = 1)
      : model_(byte_model("gemma3", window), "kept"),
        store_(std::filesystem::temp_directory_path() / fmt::format("sliding-{}", ::getpid())) {
    std::filesystem::remove_all(store_);
    config = {.model_path = model_.path(), .store_path = store_, .ranks = ranks, .window = kModelWindow};
  }
  ~GroupOfGemma() { std::filesystem::remove_all(store_); }
  GroupOfGemma(const GroupOfGemma&) = delete;
  GroupOfGemma& operator=(const GroupOfGemma&) = delete;

  LocalGroupConfig config;

 private:
  TemporaryModel model_;
  std::filesystem::path store_;
};

constexpr std::uint64_t kFullLayers = 1;
constexpr std::uint64_t kSlidingLayers = 5;

std::map<std::uint32_t, std::uint64_t> blocks_by_chunk(LocalGroup& group, std::uint32_t ranks) {
  std::map<std::uint32_t, std::uint64_t> blocks;
  for (std::uint32_t rank = 0; rank < ranks; ++rank) {
    for (const auto& volume : group.store(rank).volumes()) {
      for (const auto& [record, hash] : group.store(rank).manifests(volume.volume)) {
        blocks[record.chunk_index] += record.block_count;
      }
    }
  }
  return blocks;
}

TEST(SlidingWindows, AreKeptBeforeEachChunksEndAndOthersWhole) {
  GroupOfGemma gemma(300, 2);
  gemma.config.step_tokens = 500;
  LocalGroup group(gemma.config);
  const std::uint64_t tokens = protocol::kChunkTokens + 1000;
  group.commit_context(kContext, make_prompt(tokens, 256));
  const auto blocks = blocks_by_chunk(group, 2);
  // Rows behind the first chunk see its last 299 tokens, of three blocks; behind 5,096 those from 4,797 on, of three.
  EXPECT_EQ(blocks.at(0), 32 * kFullLayers + 3 * kSlidingLayers);
  EXPECT_EQ(blocks.at(1), 8 * kFullLayers + 3 * kSlidingLayers);
  const protocol::KvBytes expected = protocol::kv_bytes(
      tokens,
      {.token_bytes = kFullLayers + kSlidingLayers, .sliding_token_bytes = kSlidingLayers, .sliding_window = 300});
  EXPECT_EQ(expected.full, tokens * kFullLayers);
  EXPECT_EQ(expected.sliding, (3 * 128 + tokens - 4736) * kSlidingLayers);  // the last block is not full
}

TEST(SlidingWindows, HaveLandmarksOnlyInLayersThatSeeEverything) {
  GroupOfGemma gemma(300);
  gemma.config.window = 1024;
  gemma.config.retrieval = {.landmark_version = protocol::kLandmarkVersion, .exact_tokens = 1024, .local_tokens = 256};
  LocalGroup group(gemma.config);
  group.commit_context(kContext, make_prompt(protocol::kChunkTokens, 256));
  EXPECT_EQ(blocks_by_chunk(group, 1).at(0), (32 + 8) * kFullLayers + 3 * kSlidingLayers);
}

// The layer that sees everything attends 64 blocks at once. Those that slide hold a window and a step; a whole chunk of
// them would be 160 blocks.
TEST(SlidingWindows, TakeNoMoreMemoryThanAWindowAndAStep) {
  GroupOfGemma gemma(128);
  gemma.config.step_tokens = 256;
  const std::size_t block_bytes = kernels::KvFormat{gemma.config.kv_type, 2, 16}.block_bytes();
  const std::size_t blocks = 64 * kFullLayers + (1 + 2 + 2) * kSlidingLayers + 8;
  gemma.config.host_budget_bytes = blocks * ((block_bytes + 4095) / 4096 * 4096);
  LocalGroup group(gemma.config);
  const auto records = group.commit_context(kContext, make_prompt(2 * protocol::kChunkTokens, 256));
  EXPECT_EQ(records.size(), 2u);
}

// The chunk in the middle is computed again from the token ids, as after damage: from the windows before it, under
// another object, while the chunks behind it stay.
TEST(SlidingWindows, OfOneChunkAreComputedAgainFromTheChunkBefore) {
  GroupOfGemma gemma(300);
  const std::vector<protocol::TokenId> ids = make_prompt(3 * protocol::kChunkTokens, 256);
  std::uint64_t logits_hash = 0;
  LocalGroup group(gemma.config, [&](const worker::StepItem&, std::size_t, std::span<const float> logits) {
    logits_hash = XXH3_64bits_withSeed(logits.data(), logits.size_bytes(), logits_hash);
  });
  group.commit_context(kContext, ids);
  protocol::StartAnswer question;
  question.request = {1};
  question.context = kContext;
  question.question = {65, 66, 67};
  question.max_tokens = 12;
  question.ignore_eos = true;
  question.attention.mode = AttentionMode::exact;
  group.answer(question);
  const std::uint64_t want = std::exchange(logits_hash, 0);
  group.send(protocol::ComputeChunk{kContext, 1, protocol::ObjectId{1ull << 50}, 0, 0});
  for (bool is_committed = false; !is_committed;) {
    const protocol::Message message = group.receive();
    ASSERT_FALSE(std::holds_alternative<protocol::ComputeFailed>(message));
    is_committed = std::holds_alternative<protocol::ChunkCommitted>(message);
  }
  question.request = {2};
  group.answer(question);
  EXPECT_EQ(logits_hash, want);
}

}  // namespace
}  // namespace rotulus::testing
