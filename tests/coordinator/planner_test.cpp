#include "coordinator/planner.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include "protocol/token_range.h"

namespace rotulus::coordinator {
namespace {

using protocol::ErrorCode;

constexpr Capacity kCapacity{.window = 8192, .kv_bytes_per_token = 1000, .bytes_free = 100u << 20};

TEST(Planner, LeavesRoomForOneTokenOfAnAnswer) {
  EXPECT_FALSE(check_window(8191, true, kCapacity));
  const auto error = check_window(8192, true, kCapacity);
  ASSERT_TRUE(error);
  EXPECT_EQ(error->code(), ErrorCode::context_length_exceeded);
  EXPECT_NE(error->message().find("8192 tokens"), std::string::npos);
}

TEST(Planner, RefusesAContextThatDoesNotFitTheDisksWithTheNumbers) {
  const std::vector<protocol::ObjectRecord> chunks(2);
  EXPECT_FALSE(check_disk(chunks, 8000, kCapacity));
  Capacity small = kCapacity;
  small.bytes_free = 20'000'000;
  const auto error = check_disk(chunks, 8000, small);
  ASSERT_TRUE(error);
  EXPECT_EQ(error->code(), ErrorCode::storage_full);
  EXPECT_NE(error->message().find("20000000 bytes free"), std::string::npos);
}

TEST(Planner, AsksForNoRoomForWhatIsCommittedAlready) {
  std::vector<protocol::ObjectRecord> chunks(2);
  chunks[0].object = chunks[1].object = protocol::ObjectId{1};
  Capacity full = kCapacity;
  full.bytes_free = 0;
  EXPECT_FALSE(check_disk(chunks, 8000, full));
}

// The next chunk is the first that is missing, and what is committed is counted by its true length.
RC_GTEST_PROP(Planner, ComputesMissingChunksInDocumentOrder, ()) {
  const auto tokens = *rc::gen::inRange<std::uint64_t>(1, 100'000);
  std::vector<protocol::ObjectRecord> chunks(protocol::chunk_count(tokens));
  std::uint64_t committed = 0;
  std::optional<std::uint32_t> missing;
  for (std::uint32_t index = 0; index < chunks.size(); ++index) {
    if (*rc::gen::arbitrary<bool>()) {
      chunks[index].object = protocol::ObjectId{index + 1};
      committed += protocol::chunk_range(index, tokens).count();
    } else if (!missing) {
      missing = index;
    }
  }
  RC_ASSERT(next_chunk(chunks) == missing);
  RC_ASSERT(committed_tokens(chunks, tokens) == committed);
}

// Never truncated: what is planned fits the window exactly, or is refused.
RC_GTEST_PROP(Planner, PlansAnswersThatFitTheWindowOrRefusesThem, ()) {
  AnswerSize size;
  size.window = *rc::gen::inRange<std::uint64_t>(1, 1000);
  size.context_tokens = *rc::gen::inRange<std::uint64_t>(0, 1200);
  size.question_tokens = *rc::gen::inRange<std::uint64_t>(1, 100);
  if (*rc::gen::arbitrary<bool>()) size.max_tokens = *rc::gen::inRange<std::uint32_t>(1, 1000);
  const std::uint64_t prompt = size.context_tokens + size.question_tokens;
  const auto plan = plan_answer(size);
  if (const auto* max_tokens = std::get_if<std::uint32_t>(&plan)) {
    RC_ASSERT(*max_tokens >= 1u);
    RC_ASSERT(prompt + *max_tokens <= size.window);
    RC_ASSERT(*max_tokens == size.max_tokens.value_or(static_cast<std::uint32_t>(size.window - prompt)));
  } else {
    RC_ASSERT(prompt + size.max_tokens.value_or(1) > size.window);
    RC_ASSERT(std::get<protocol::Error>(plan).code() == ErrorCode::context_length_exceeded);
  }
}

}  // namespace
}  // namespace rotulus::coordinator
