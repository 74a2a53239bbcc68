// Answers, checked against what the fake model must say: a hash of the context, the question and the answer so far.
#include "tests/coordinator/coordinator_test.h"

namespace rotulus::coordinator::testing {
namespace {

using protocol::AttentionMode;
using protocol::ErrorCode;
using protocol::TokenId;

std::vector<TokenId> ids_of(const std::string& text) {
  std::vector<TokenId> ids;
  for (const char byte : text) ids.push_back(static_cast<unsigned char>(byte));
  return ids;
}

std::vector<TokenId> expected_answer(std::vector<TokenId> before, std::size_t count) {
  std::vector<TokenId> answer;
  for (std::size_t i = 0; i < count; ++i) {
    answer.push_back(fake_next_token(before));
    before.push_back(answer.back());
  }
  return answer;
}

class QueriesTest : public CoordinatorTest {
 protected:
  static protocol::ContextDescription raw() {
    protocol::ContextDescription description;
    description.frame = protocol::Frame::raw;
    return description;
  }
  ContextId make_context(RunningCoordinator& coordinator, const std::string& text) {
    const ContextId id = coordinator.submit(text, raw());
    coordinator.wait_for(id, ContextStatus::completed);
    return id;
  }
  static void wait_for_end(const QueryRecord& record) {
    ASSERT_TRUE(eventually([&] { return record.is_ended(); }));
  }
  static void expect_error(const QueryRecord& record, ErrorCode code, const std::string& part) {
    wait_for_end(record);
    ASSERT_TRUE(record.failed);
    EXPECT_EQ(record.failed->code(), code) << record.failed->message();
    EXPECT_NE(record.failed->message().find(part), std::string::npos) << record.failed->message();
  }
};

TEST_F(QueriesTest, AnswersBehindAContext) {
  RunningCoordinator coordinator(directory_.path());
  const auto group = start_group(coordinator);
  const ContextId id = make_context(coordinator, "the document ");
  const auto record = coordinator.ask({.context = id, .prompt = std::string("what?"), .max_tokens = 10});
  wait_for_end(*record);
  ASSERT_TRUE(record->finished) << record->failed->message();
  EXPECT_EQ(record->tokens, expected_answer(ids_of("the document what?"), 10));
  EXPECT_EQ(record->finished->prompt_tokens, 18u);
  EXPECT_EQ(record->finished->cached_tokens, 13u);
  EXPECT_EQ(record->finished->completion_tokens, 10u);
  EXPECT_NE(coordinator.metrics().find("rotulus_generation_tokens_total 10"), std::string::npos);
}

// All but its last token are computed on the road of every context.
TEST_F(QueriesTest, AnswersAPromptWithoutAContext) {
  RunningCoordinator coordinator(directory_.path());
  const auto group = start_group(coordinator);
  const std::string prompt(5000, 'x');
  const auto record = coordinator.ask({.prompt = prompt, .max_tokens = 4});
  wait_for_end(*record);
  ASSERT_TRUE(record->finished) << record->failed->message();
  EXPECT_EQ(record->tokens, expected_answer(ids_of(prompt), 4));
  EXPECT_EQ(record->started->prompt_tokens, 5000u);
  EXPECT_EQ(record->started->cached_tokens, 0u);
  EXPECT_EQ(record->progress.back(), 4999u);
  EXPECT_EQ(group->counts().tokens_computed, 4999u);
}

TEST_F(QueriesTest, AnswersAPromptOfOneToken) {
  RunningCoordinator coordinator(directory_.path());
  const auto group = start_group(coordinator);
  const auto record = coordinator.ask({.prompt = std::vector<TokenId>{65}, .max_tokens = 3});
  wait_for_end(*record);
  EXPECT_EQ(record->tokens, expected_answer({65}, 3));
  EXPECT_EQ(group->counts().chunks_asked, 0u);
}

TEST_F(QueriesTest, ForgetsAPromptsContextAfterItsTimeToLive) {
  RunningCoordinator coordinator(directory_.path());
  const auto group = start_group(coordinator);
  const auto record = coordinator.ask({.prompt = std::string("a prompt"), .max_tokens = 3});
  wait_for_end(*record);
  const auto objects = [&] {
    const std::lock_guard lock(disk_.mutex);
    return disk_.volumes[protocol::VolumeId{11}].objects.size();
  };
  EXPECT_EQ(objects(), 1u);
  EXPECT_TRUE(coordinator.on_loop([](auto& self) { return self.contexts->list(std::nullopt, 10); }).empty());
  coordinator.clock().advance(std::chrono::seconds(299));
  coordinator.on_loop([](auto& self) { self.contexts->expire(); });
  EXPECT_EQ(objects(), 1u);
  coordinator.clock().advance(std::chrono::seconds(2));
  coordinator.on_loop([](auto& self) { self.contexts->expire(); });
  EXPECT_TRUE(eventually([&] { return objects() == 0; }));
}

TEST_F(QueriesTest, UsesWhatIsLeftOfTheWindowWhenNoMaximumIsGiven) {
  RunningCoordinator coordinator(directory_.path());
  const auto group = start_group(coordinator);
  const ContextId id = make_context(coordinator, std::string(8180, 'a'));
  const auto record = coordinator.ask({.context = id, .prompt = std::string("why")});
  wait_for_end(*record);
  EXPECT_EQ(record->finished->completion_tokens, 8192u - 8180u - 3u);
}

TEST_F(QueriesTest, RefusesWithTheNumbersWhatDoesNotFitTheWindow) {
  RunningCoordinator coordinator(directory_.path());
  const auto group = start_group(coordinator);
  const ContextId id = make_context(coordinator, std::string(8180, 'a'));
  expect_error(*coordinator.ask({.context = id, .prompt = std::string("why"), .max_tokens = 10}),
               ErrorCode::context_length_exceeded, "8183 tokens (8180 of the context, 3 of the question)");
  expect_error(*coordinator.ask({.context = id, .prompt = std::string("why, and how?")}),
               ErrorCode::context_length_exceeded, "8193");
  expect_error(*coordinator.ask({.prompt = std::string(9000, 'a'), .attention = {.mode = AttentionMode::exact}}),
               ErrorCode::context_length_exceeded, "9000 tokens");
  EXPECT_EQ(group->counts().answers_started, 0u);
}

TEST_F(QueriesTest, AnswersByRetrievalBeyondTheWindow) {
  RunningCoordinator coordinator(directory_.path());
  const auto group = start_group(coordinator);
  const std::string document(20'000, 'd');
  const ContextId id = make_context(coordinator, document);
  const auto record = coordinator.ask({.context = id,
                                       .prompt = std::string("what?"),
                                       .max_tokens = 10,
                                       .attention = {.budget_tokens = 1024, .second_pass = false}});
  wait_for_end(*record);
  ASSERT_TRUE(record->finished) << record->failed->message();
  EXPECT_EQ(record->tokens, expected_answer(ids_of(document + "what?"), 10));
  const protocol::AttentionSpec given = group->counts().last_started->attention;
  EXPECT_EQ(given, (protocol::AttentionSpec{AttentionMode::retrieval, 1024, 512, false, false}));
  EXPECT_EQ(record->result.attention.mode, AttentionMode::retrieval);
  EXPECT_EQ(record->result.attention.context_tokens, 20'000u);
  EXPECT_EQ(record->result.attention.attended_tokens, 1024u + 512u + 128u);
  EXPECT_NE(coordinator.metrics().find(R"(rotulus_answers_total{attention="retrieval"} 1)"), std::string::npos);
  EXPECT_NE(coordinator.metrics().find(R"(rotulus_answers_total{attention="exact"} 0)"), std::string::npos);
}

TEST_F(QueriesTest, LeavesUnderRetrievalWhatQuestionAndWindowsLeave) {
  RunningCoordinator coordinator(directory_.path());
  const auto group = start_group(coordinator);
  const ContextId id = make_context(coordinator, std::string(9000, 'd'));
  const auto record = coordinator.ask({.context = id, .prompt = std::string("why")});
  wait_for_end(*record);
  EXPECT_EQ(record->finished->completion_tokens, 8192u - 3u - 512u - 256u);
  expect_error(*coordinator.ask({.context = id, .prompt = std::string("why"), .max_tokens = 7422}),
               ErrorCode::context_length_exceeded, "at most 7421");
  expect_error(
      *coordinator.ask({.context = id, .prompt = std::string("why"), .attention = {.mode = AttentionMode::exact}}),
      ErrorCode::context_length_exceeded, "9003 tokens");
  const ContextId within = make_context(coordinator, "no landmarks");
  expect_error(*coordinator.ask(
                   {.context = within, .prompt = std::string("why"), .attention = {.mode = AttentionMode::retrieval}}),
               ErrorCode::conflict, "create it again");
}

// The prompt's end is the question, whose rows choose what is read of the rest.
TEST_F(QueriesTest, AnswersAPromptBeyondTheWindow) {
  RunningCoordinator coordinator(directory_.path());
  const auto group = start_group(coordinator);
  const std::string prompt(9000, 'x');
  const auto record = coordinator.ask({.prompt = prompt, .max_tokens = 4});
  wait_for_end(*record);
  ASSERT_TRUE(record->finished) << record->failed->message();
  EXPECT_EQ(record->tokens, expected_answer(ids_of(prompt), 4));
  EXPECT_EQ(record->finished->prompt_tokens, 9000u);
  EXPECT_EQ(record->finished->cached_tokens, 0u);
  EXPECT_EQ(group->counts().last_started->question.size(), 256u);
  EXPECT_EQ(group->counts().last_started->attention.mode, AttentionMode::retrieval);
  EXPECT_EQ(group->counts().last_opened->parameters.retrieval.landmark_version, protocol::kLandmarkVersion);
}

// A prompt that is scored is a question as a whole: no part of it is computed as a context.
TEST_F(QueriesTest, TellsAPromptThatIsScoredBeforeItsAnswer) {
  RunningCoordinator coordinator(directory_.path());
  auto group = start_group(coordinator, {.stall_answers_at = 1});
  const auto record = coordinator.ask({.prompt = std::string("a prompt"), .max_tokens = 3, .scores_prompt = true});
  ASSERT_TRUE(eventually([&] { return record->tokens_now().size() == 9; }));
  coordinator.lose(*group);
  group = start_group(coordinator);
  wait_for_end(*record);
  ASSERT_TRUE(record->finished) << record->failed->message();
  std::vector<TokenId> expected = ids_of("a prompt");
  for (const TokenId token : expected_answer(expected, 3)) expected.push_back(token);
  EXPECT_EQ(record->tokens, expected) << "each is told once";
  EXPECT_EQ(record->finished->completion_tokens, 3u);
  EXPECT_EQ(group->counts().chunks_asked, 0u);
}

TEST_F(QueriesTest, ScoresWhatFollowsAContextAndNothingMore) {
  RunningCoordinator coordinator(directory_.path());
  const auto group = start_group(coordinator);
  const ContextId id = make_context(coordinator, "the document ");
  const auto record =
      coordinator.ask({.context = id, .prompt = std::string("what?"), .max_tokens = 0, .scores_prompt = true});
  wait_for_end(*record);
  ASSERT_TRUE(record->finished) << record->failed->message();
  EXPECT_EQ(record->tokens, ids_of("what?"));
  EXPECT_EQ(record->finished->completion_tokens, 0u);
  expect_error(*coordinator.ask({.context = id, .prompt = std::string("what?"), .max_tokens = 0}),
               ErrorCode::invalid_argument, "at least 1");
  const std::vector<TokenId> too_long(protocol::kMaxEchoedTokens + 1, 65);
  expect_error(*coordinator.ask({.context = id, .prompt = too_long, .max_tokens = 0, .scores_prompt = true}),
               ErrorCode::invalid_argument, "at most 16384");
}

class ProvenanceTest : public QueriesTest {
 protected:
  // A lighthouse between pages of other things.
  static std::string document() {
    std::string text(9000, '.');
    return text.replace(5000, 10, "lighthouse");
  }
  static QueryRequest request(ContextId id) {
    return {
        .context = id, .prompt = std::string("lighthouse"), .max_tokens = 2, .attention = {.wants_provenance = true}};
  }
  static void expect_lighthouse(const QueryRecord& record) {
    wait_for_end(record);
    ASSERT_TRUE(record.finished) << record.failed->message();
    ASSERT_EQ(record.result.provenance.size(), 1u);
    EXPECT_EQ(record.result.provenance[0].range, (protocol::TokenRange{4992, 5024}));
    EXPECT_EQ(record.result.provenance[0].text, "........lighthouse..............");
    EXPECT_EQ(record.result.provenance[0].mass, 0.5f);
  }
};

TEST_F(ProvenanceTest, IsTheTextThatTheAnswersAttentionRead) {
  RunningCoordinator coordinator(directory_.path());
  const auto group = start_group(coordinator);
  const ContextId id = make_context(coordinator, document());
  expect_lighthouse(*coordinator.ask(request(id)));
  QueryRequest unasked = request(id);
  unasked.attention.wants_provenance = false;
  const auto record = coordinator.ask(unasked);
  wait_for_end(*record);
  EXPECT_TRUE(record->result.provenance.empty());
}

// The answer is there, its provenance is not yet text, and the group that made it is gone.
TEST_F(ProvenanceTest, IsReadByTheNextGroupWhenOneIsLost) {
  RunningCoordinator coordinator(directory_.path());
  auto group = start_group(coordinator, {.stall_answers_at = 1});
  const ContextId id = make_context(coordinator, document());
  const auto record = coordinator.ask(request(id));
  ASSERT_TRUE(eventually([&] { return record->tokens_now().size() == 1; }));
  group->order({.is_deaf = true});
  ASSERT_TRUE(eventually([&] {
    return coordinator.metrics().find(R"(rotulus_answers_total{attention="retrieval"} 1)") != std::string::npos;
  }));
  coordinator.lose(*group);
  group = start_group(coordinator);
  expect_lighthouse(*record);
}

TEST_F(QueriesTest, RefusesWhatCannotBeAsked) {
  RunningCoordinator coordinator(directory_.path());
  const auto group = start_group(coordinator, {.stall_computing_at = 4096});
  const ContextId raw_context = make_context(coordinator, "raw");
  expect_error(*coordinator.ask({.context = ContextId{12345}, .prompt = std::string("?")}), ErrorCode::not_found,
               "ctx_0000000000003039");
  expect_error(*coordinator.ask({.context = raw_context, .prompt = std::vector<protocol::ChatMessage>{{"user", "?"}}}),
               ErrorCode::invalid_argument, "raw");
  expect_error(*coordinator.ask({.prompt = std::string()}), ErrorCode::invalid_argument, "no token");
  expect_error(*coordinator.ask({.prompt = std::vector<TokenId>{1, 256}}), ErrorCode::invalid_argument, "vocabulary");
  expect_error(*coordinator.ask({.prompt = std::string(2u << 20, 'a')}), ErrorCode::payload_too_large, "1 MiB");

  const ContextId unfinished = coordinator.submit(std::string(6000, 'a'), raw());
  ASSERT_TRUE(eventually([&] { return coordinator.find(unfinished)->progress.processed == 4096; }));
  expect_error(*coordinator.ask({.context = unfinished, .prompt = std::string("?")}), ErrorCode::conflict,
               "4096 of 6000 tokens");
}

TEST_F(QueriesTest, GoesOnWithTheSameTokensWhenTheGroupIsLost) {
  RunningCoordinator coordinator(directory_.path());
  auto group = start_group(coordinator, {.stall_answers_at = 7});
  const ContextId id = make_context(coordinator, std::string(5000, 'd'));
  const auto record = coordinator.ask({.context = id, .prompt = std::string("what?"), .max_tokens = 20});
  ASSERT_TRUE(eventually([&] { return record->tokens_now().size() == 7; }));
  coordinator.lose(*group);
  group = start_group(coordinator);
  wait_for_end(*record);
  ASSERT_TRUE(record->finished) << record->failed->message();
  EXPECT_EQ(record->tokens, expected_answer(ids_of(std::string(5000, 'd') + "what?"), 20));
  EXPECT_GE(record->waits, 1u);
  EXPECT_EQ(group->counts().chunks_asked, 0u);
}

TEST_F(QueriesTest, GoesOnWithTheSameTokensWhenItsContextIsRepaired) {
  RunningCoordinator coordinator(directory_.path());
  const auto group = start_group(coordinator, {.stall_answers_at = 7});
  const ContextId id = make_context(coordinator, std::string(5000, 'd'));
  const auto record = coordinator.ask({.context = id, .prompt = std::string("what?"), .max_tokens = 20});
  ASSERT_TRUE(eventually([&] { return record->tokens_now().size() == 7; }));
  {
    const std::lock_guard lock(disk_.mutex);
    disk_.volumes[protocol::VolumeId{11}].objects.begin()->second.is_damaged = true;
  }
  group->order({});
  wait_for_end(*record);
  ASSERT_TRUE(record->finished) << record->failed->message();
  EXPECT_EQ(record->tokens, expected_answer(ids_of(std::string(5000, 'd') + "what?"), 20));
  EXPECT_EQ(group->counts().tokens_recomputed, 4096u);
  EXPECT_EQ(coordinator.find(id)->chunks_repaired, 1u);
  EXPECT_EQ(coordinator.find(id)->status, ContextStatus::completed);
}

TEST_F(QueriesTest, WaitsForWorkersButNotForEver) {
  RunningCoordinator coordinator(directory_.path());
  const auto record = coordinator.ask({.prompt = std::string("anybody there?")});
  ASSERT_TRUE(eventually([&] {
    const std::lock_guard lock(record->mutex);
    return record->waits > 0;
  }));
  EXPECT_FALSE(record->is_ended());
  coordinator.clock().advance(protocol::kWorkerGroupTimeout);
  expect_error(*record, ErrorCode::unavailable, "waiting for workers");
}

TEST_F(QueriesTest, StopsTheWorkersWhenTheClientGoesAway) {
  RunningCoordinator coordinator(directory_.path());
  const auto group = start_group(coordinator, {.stall_answers_at = 3});
  const auto record = coordinator.ask({.prompt = std::vector<TokenId>{65}, .max_tokens = 100});
  ASSERT_TRUE(eventually([&] { return record->tokens_now().size() == 3; }));
  coordinator.drop(*record);
  EXPECT_TRUE(eventually([&] { return group->counts().answers_cancelled == 1; }));
  group->order({});
  EXPECT_FALSE(record->is_ended());
}

TEST_F(QueriesTest, ComputesAPromptNoFurtherWhenTheClientGoesAway) {
  RunningCoordinator coordinator(directory_.path());
  const auto group = start_group(coordinator, {.stall_computing_at = 1024});
  const auto record = coordinator.ask({.prompt = std::string(5000, 'x'), .max_tokens = 4});
  ASSERT_TRUE(eventually([&] {
    const std::lock_guard lock(record->mutex);
    return !record->progress.empty() && record->progress.back() == 1024;
  }));
  coordinator.drop(*record);
  coordinator.wait_for(coordinator.submit("next", raw()), ContextStatus::completed);
  EXPECT_EQ(group->counts().tokens_computed, 1028u);
  EXPECT_EQ(coordinator.on_loop([](auto& self) { return self.contexts->count_by_status().at("queued"); }), 0u);
}

TEST_F(QueriesTest, LetsTheRestWaitAndRefusesBeyondThat) {
  RunningCoordinator coordinator(directory_.path(), {.max_running = 2, .max_waiting = 1});
  const auto group = start_group(coordinator, {.stall_answers_at = 1});
  const QueryRequest request{.prompt = std::vector<TokenId>{65}, .max_tokens = 2};
  std::vector<std::shared_ptr<QueryRecord>> records;
  for (int i = 0; i < 3; ++i) records.push_back(coordinator.ask(request));
  ASSERT_TRUE(eventually([&] { return records[0]->tokens_now().size() + records[1]->tokens_now().size() == 2; }));
  EXPECT_EQ(records[2]->tokens_now().size(), 0u);
  EXPECT_EQ(coordinator.on_loop([](auto& self) { return self.queries->waiting(); }), 1u);
  expect_error(*coordinator.ask(request), ErrorCode::unavailable, "try again later");
  group->order({});
  for (const auto& record : records) wait_for_end(*record);
  EXPECT_TRUE(records[2]->finished);
}

TEST_F(QueriesTest, EndsWithItsContext) {
  RunningCoordinator coordinator(directory_.path());
  const auto group = start_group(coordinator, {.stall_answers_at = 1});
  const ContextId id = make_context(coordinator, "the document");
  const auto record = coordinator.ask({.context = id, .prompt = std::string("?"), .max_tokens = 5});
  ASSERT_TRUE(eventually([&] { return record->tokens_now().size() == 1; }));
  EXPECT_FALSE(coordinator.erase(id));
  expect_error(*record, ErrorCode::not_found, protocol::to_string(id));
}

TEST_F(QueriesTest, AreUnavailableWhileAVolumeOfTheirContextIsAbsent) {
  RunningCoordinator coordinator(directory_.path());
  auto group = start_group(coordinator);
  const ContextId id = make_context(coordinator, "the document");
  coordinator.lose(*group);
  FakeGroupOptions one_rank{.port = coordinator.port(), .group = ++last_group_, .size = 1};
  one_rank.volumes = {protocol::VolumeId{11}};
  group = std::make_unique<FakeWorkerGroup>(disk_, one_rank);
  coordinator.wait_until_ready();
  expect_error(*coordinator.ask({.context = id, .prompt = std::string("?")}), ErrorCode::unavailable,
               fmt::format("{}", protocol::VolumeId{12}));
}

TEST_F(QueriesTest, FinishesWhatRunsWhenItIsDrained) {
  RunningCoordinator coordinator(directory_.path());
  const auto group = start_group(coordinator, {.stall_answers_at = 1});
  const auto record = coordinator.ask({.prompt = std::vector<TokenId>{65}, .max_tokens = 3});
  ASSERT_TRUE(eventually([&] { return record->tokens_now().size() == 1; }));
  std::promise<void> drained;
  coordinator.on_loop([&](auto& self) { self.queries->drain(std::chrono::seconds(30), [&] { drained.set_value(); }); });
  expect_error(*coordinator.ask({.prompt = std::vector<TokenId>{65}}), ErrorCode::unavailable, "shutting down");
  group->order({});
  drained.get_future().get();
  EXPECT_EQ(record->tokens, expected_answer({65}, 3));
}

}  // namespace
}  // namespace rotulus::coordinator::testing
