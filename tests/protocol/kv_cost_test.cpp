// What is kept is compared with the rule that it comes from: a block stays if a row behind its chunk sees one of its
// tokens.
#include "protocol/kv_cost.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

namespace rotulus::protocol {
namespace {

TEST(KvCost, SeesAWindowFromItsLastRow) {
  EXPECT_EQ(first_token_seen(1000, 0), 0u);
  EXPECT_EQ(first_token_seen(1000, 512), 489u);  // 489 to 1000, itself among them
  EXPECT_EQ(first_token_seen(510, 512), 0u);
  EXPECT_EQ(first_token_seen(511, 512), 0u);
  EXPECT_EQ(first_token_seen(512, 512), 1u);
}

RC_GTEST_PROP(KvCost, KeepsTheBlocksThatRowsBehindTheirChunkSee, ()) {
  const auto tokens = *rc::gen::inRange<std::uint64_t>(0, 3 * kChunkTokens + 300);
  const auto window =
      *rc::gen::oneOf(rc::gen::inRange<std::uint32_t>(1, 700), rc::gen::inRange<std::uint32_t>(1, 9000));
  std::uint64_t kept = 0;
  for (std::uint64_t token = 0; token < tokens; ++token) {
    const std::uint64_t next_row = chunk_range(token / kChunkTokens, tokens).end;
    const std::uint64_t last_of_block = token - token % kBlockTokens + kBlockTokens - 1;
    kept += last_of_block + window > next_row ? 1 : 0;
  }
  const KvBytes bytes = kv_bytes(tokens, {.token_bytes = 7, .sliding_token_bytes = 5, .sliding_window = window});
  RC_ASSERT(bytes.full == 2 * tokens);
  RC_ASSERT(bytes.sliding == 5 * kept);
  RC_ASSERT(bytes.kept() + bytes.saved == 7 * tokens);
}

TEST(KvCost, OfAModelWithoutWindowsIsWhatEveryTokenTakes) {
  EXPECT_EQ(kv_bytes(5000, {.token_bytes = 7}).kept(), 35'000u);
  EXPECT_EQ(kv_bytes(5000, {.token_bytes = 7}).saved, 0u);
}

}  // namespace
}  // namespace rotulus::protocol
