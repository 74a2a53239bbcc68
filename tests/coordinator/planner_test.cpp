#include "coordinator/planner.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include "protocol/token_range.h"

namespace rotulus::coordinator {
namespace {

using protocol::AttentionMode;
using protocol::ErrorCode;
using protocol::RetrievalParameters;

constexpr Capacity kCapacity{.window = 8192, .kv = {.token_bytes = 1000}, .bytes_free = 100u << 20};

TEST(Planner, LeavesRoomForOneTokenOfAnAnswer) {
  EXPECT_FALSE(check_window(8191, true, kCapacity.window));
  const auto error = check_window(8192, true, kCapacity.window);
  ASSERT_TRUE(error);
  EXPECT_EQ(error->code(), ErrorCode::context_length_exceeded);
  EXPECT_NE(error->message().find("8192 tokens"), std::string::npos);
}

TEST(Planner, RefusesAContextThatDoesNotFitTheDisksWithTheNumbers) {
  const std::vector<protocol::ObjectRecord> chunks(2);
  EXPECT_FALSE(check_disk(chunks, 8000, {}, kCapacity));
  Capacity small = kCapacity;
  small.bytes_free = 20'000'000;
  const auto error = check_disk(chunks, 8000, {}, small);
  ASSERT_TRUE(error);
  EXPECT_EQ(error->code(), ErrorCode::storage_full);
  EXPECT_NE(error->message().find("20000000 bytes free"), std::string::npos);
}

TEST(Planner, AsksForNoRoomForWhatIsCommittedAlready) {
  std::vector<protocol::ObjectRecord> chunks(2);
  chunks[0].object = chunks[1].object = protocol::ObjectId{1};
  Capacity full = kCapacity;
  full.bytes_free = 0;
  EXPECT_FALSE(check_disk(chunks, 8000, {}, full));
}

TEST(Planner, KeepsLandmarksBeyondTheWindowOrWhereTheyAreAskedFor) {
  const RetrievalParameters kept{protocol::kLandmarkVersion, 8192, 2048};
  EXPECT_EQ(plan_retrieval({AttentionMode::automatic}, 8191, 8192), RetrievalParameters{});
  EXPECT_EQ(plan_retrieval({AttentionMode::automatic}, 8192, 8192), kept);
  EXPECT_EQ(plan_retrieval({AttentionMode::retrieval}, 10, 8192), kept);
  EXPECT_EQ(plan_retrieval({AttentionMode::retrieval, protocol::kKeepsBounds}, 10, 8192).landmarks,
            protocol::kKeepsBounds);
  EXPECT_EQ(plan_retrieval({AttentionMode::exact}, 100'000, 8192), RetrievalParameters{});
  EXPECT_EQ(plan_retrieval({AttentionMode::retrieval}, 10, 2000).local_tokens, 384u);
  EXPECT_EQ(plan_retrieval({AttentionMode::retrieval}, 10, 32'768).local_tokens, 2048u);
  EXPECT_EQ(plan_retrieval({AttentionMode::retrieval}, 10, 256).local_tokens, 128u);
}

// Of 10,000 tokens, a layer with a window of 512 keeps 512, 512 and, the last chunk ending inside a block, 528.
TEST(Planner, CountsWhatSlidingLayersDrop) {
  const protocol::KvCost kv{.token_bytes = 1000, .sliding_token_bytes = 800, .sliding_window = 512};
  const StoredBytes exact = stored_bytes(10'000, kv, {});
  EXPECT_EQ(exact.total, 10'000u * 200 + (512 + 512 + 528) * 800);
  EXPECT_EQ(exact.total + exact.saved, 10'000'000u);
  const StoredBytes retrieved = stored_bytes(10'000, kv, {.landmark_version = 1});
  EXPECT_EQ(retrieved.total, exact.total + 10'000u * 200 / 10);
  EXPECT_EQ(retrieved.landmarks, 10'000u * 200 / 10);
  const StoredBytes by_bounds = stored_bytes(10'000, kv, {.landmark_version = 1, .landmarks = protocol::kKeepsBounds});
  EXPECT_EQ(by_bounds.landmarks, 10'000u * 200 / 16);
  const StoredBytes by_all = stored_bytes(10'000, kv, {.landmark_version = 1, .landmarks = protocol::kKnownLandmarks});
  EXPECT_EQ(by_all.landmarks, retrieved.landmarks + by_bounds.landmarks + 10'000u * 200 / 28);
}

TEST(Planner, TakesOfADocumentWhatTheDisksCanHold) {
  Capacity small = kCapacity;
  small.bytes_free = 50'000'000;  // 30,000 tokens of 1,100 bytes, and overhead
  EXPECT_FALSE(check_document({AttentionMode::automatic}, 28'000, false, small));
  const auto full = check_document({AttentionMode::automatic}, 31'000, false, small);
  ASSERT_TRUE(full);
  EXPECT_EQ(full->code(), ErrorCode::storage_full);
  EXPECT_NE(full->message().find("31000 tokens"), std::string::npos) << full->message();
  EXPECT_NE(full->message().find("1100 bytes each"), std::string::npos) << full->message();
  const auto too_long = check_document({AttentionMode::exact}, 28'000, false, small);
  ASSERT_TRUE(too_long);
  EXPECT_EQ(too_long->code(), ErrorCode::context_length_exceeded);
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

AnswerSize any_size() {
  AnswerSize size;
  size.window = *rc::gen::inRange<std::uint64_t>(1, 3000);
  size.context_tokens = *rc::gen::inRange<std::uint64_t>(0, 4000);
  size.question_tokens = *rc::gen::inRange<std::uint64_t>(1, 300);
  if (*rc::gen::arbitrary<bool>()) size.max_tokens = *rc::gen::inRange<std::uint32_t>(1, 3000);
  size.landmarks = *rc::gen::element<protocol::LandmarkKinds>(0, protocol::kDefaultLandmarks);
  size.attention.mode = *rc::gen::element(AttentionMode::automatic, AttentionMode::exact, AttentionMode::retrieval);
  size.attention.local_tokens = 128 * *rc::gen::inRange<std::uint32_t>(1, 8);
  return size;
}

// Never truncated: what is planned fits the window exactly, or is refused.
RC_GTEST_PROP(Planner, PlansAnswersThatFitTheWindowOrRefusesThem, ()) {
  const AnswerSize size = any_size();
  const std::uint64_t exact = size.context_tokens + size.question_tokens;
  const std::uint64_t by_retrieval = size.question_tokens + size.attention.local_tokens + 256;
  const bool fits_exactly = exact + size.max_tokens.value_or(1) <= size.window;
  const bool fits_by_retrieval = size.landmarks != 0 && size.attention.local_tokens <= size.window / 2 &&
                                 by_retrieval + size.max_tokens.value_or(1) <= size.window;
  const auto plan = plan_answer(size);
  const auto* planned = std::get_if<AnswerPlan>(&plan);
  const bool may_be_exact = size.attention.mode != AttentionMode::retrieval && fits_exactly;
  const bool may_retrieve = size.attention.mode != AttentionMode::exact && fits_by_retrieval;
  RC_ASSERT((planned != nullptr) == (may_be_exact || may_retrieve));
  if (!planned) return;
  RC_ASSERT(planned->mode == (may_be_exact ? AttentionMode::exact : AttentionMode::retrieval));
  const std::uint64_t left = size.window - (may_be_exact ? exact : by_retrieval);
  RC_ASSERT(planned->max_tokens == size.max_tokens.value_or(static_cast<std::uint32_t>(left)));
}

protocol::Error refusal_of(AnswerSize size) {
  size.window = 8192;
  const auto plan = plan_answer(size);
  if (const auto* error = std::get_if<protocol::Error>(&plan)) return *error;
  ADD_FAILURE() << "was planned";
  return {ErrorCode::internal, ""};
}

TEST(Planner, RefusesALandmarkThatIsNotKeptAndNamesThoseThatAre) {
  AnswerSize size{.context_tokens = 100, .question_tokens = 5, .landmarks = protocol::kKeepsBounds};
  size.attention = {.mode = AttentionMode::retrieval, .landmark = protocol::PageLandmark::mean};
  const protocol::Error error = refusal_of(size);
  EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
  EXPECT_EQ(error.param(), "landmark");
  EXPECT_NE(error.message().find("ask with \"bounds\", or create"), std::string::npos) << error.message();
  size.attention.landmark = protocol::PageLandmark::bounds;
  size.window = 8192;
  EXPECT_TRUE(std::holds_alternative<AnswerPlan>(plan_answer(size)));
}

TEST(Planner, RefusesAnswersWithTheNumbersAndTheWayOut) {
  const protocol::Error no_landmarks =
      refusal_of({.context_tokens = 100, .question_tokens = 5, .attention = {.mode = AttentionMode::retrieval}});
  EXPECT_EQ(no_landmarks.code(), ErrorCode::conflict);
  EXPECT_EQ(no_landmarks.param(), "attention");
  EXPECT_NE(no_landmarks.message().find("create it again"), std::string::npos);

  AnswerSize longer{.context_tokens = 100'000, .question_tokens = 5, .landmarks = protocol::kDefaultLandmarks};
  longer.attention.mode = AttentionMode::exact;
  EXPECT_EQ(refusal_of(longer).code(), ErrorCode::context_length_exceeded);
  EXPECT_NE(refusal_of(longer).message().find("100005 tokens"), std::string::npos) << refusal_of(longer).message();
  EXPECT_NE(refusal_of(longer).message().find("\"retrieval\""), std::string::npos) << refusal_of(longer).message();

  longer.attention = {.mode = AttentionMode::retrieval, .local_tokens = 4224};
  EXPECT_EQ(refusal_of(longer).param(), "local_tokens");
  longer.attention.local_tokens = 512;
  longer.layers = 30;
  longer.attention.select_layers = {0, 30};
  EXPECT_EQ(refusal_of(longer).param(), "select_layers");
  EXPECT_NE(refusal_of(longer).message().find("0 to 29"), std::string::npos) << refusal_of(longer).message();
  longer.attention.select_layers = {0, 29};
  longer.max_tokens = 8000;
  EXPECT_EQ(refusal_of(longer).param(), "max_tokens");
  EXPECT_NE(refusal_of(longer).message().find("at most 7419"), std::string::npos) << refusal_of(longer).message();
  longer.question_tokens = 7424;
  longer.max_tokens.reset();
  EXPECT_NE(refusal_of(longer).message().find("shorten it to 7423"), std::string::npos) << refusal_of(longer).message();
}

PromptPlan plan_of(const PromptSize& size) {
  const auto plan = plan_prompt(size);
  if (const auto* error = std::get_if<protocol::Error>(&plan)) {
    ADD_FAILURE() << error->message();
    return {};
  }
  return std::get<PromptPlan>(plan);
}

TEST(Planner, MakesThePromptsEndTheQuestion) {
  const PromptPlan exact = plan_of({.tokens = 8191, .window = 8192});
  EXPECT_EQ(exact.context_tokens, 8190u);
  EXPECT_EQ(exact.answer, (AnswerPlan{1, AttentionMode::exact}));
  const PromptPlan longer = plan_of({.tokens = 8192, .window = 8192});
  EXPECT_EQ(longer.context_tokens, 8192u - 256u);
  EXPECT_EQ(longer.answer, (AnswerPlan{8192 - 256 - 512 - 256, AttentionMode::retrieval}));
  // The window holds the prompt, but not the answer as well.
  EXPECT_EQ(plan_of({.tokens = 8000, .max_tokens = 500, .window = 8192}).answer.mode, AttentionMode::retrieval);
  const PromptSize asked{.tokens = 40, .window = 8192, .attention = {.mode = AttentionMode::retrieval}};
  EXPECT_EQ(plan_of(asked).context_tokens, 20u);
  EXPECT_EQ(plan_of({.tokens = 1, .window = 8192, .attention = asked.attention}).answer.mode, AttentionMode::exact);
}

TEST(Planner, SaysOfAPromptThatFitsNeitherWhatTheWindowLeaves) {
  const auto refused = plan_prompt({.tokens = 100, .max_tokens = 9000, .window = 8192});
  EXPECT_NE(std::get<protocol::Error>(refused).message().find("at most 8092"), std::string::npos);
  const auto exact = plan_prompt({.tokens = 9000, .window = 8192, .attention = {.mode = AttentionMode::exact}});
  EXPECT_EQ(std::get<protocol::Error>(exact).code(), ErrorCode::context_length_exceeded);
}

}  // namespace
}  // namespace rotulus::coordinator
