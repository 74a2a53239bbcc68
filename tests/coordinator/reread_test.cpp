// Re-reading: which excerpts are chosen, as numbers; and queries that run behind them, checked against what the fake
// model must say to exactly that text.
#include "coordinator/reread.h"

#include "protocol/methods.h"
#include "tests/coordinator/coordinator_test.h"

namespace rotulus::coordinator::testing {
namespace {

using protocol::AttentionMode;
using protocol::ErrorCode;
using protocol::Evidence;
using protocol::TokenId;
using protocol::TokenRange;

// -- excerpts ---------------------------------------------------------------------------------------------------

AnswerSize size_of(std::uint64_t context_tokens, std::uint32_t reread_tokens) {
  AnswerSize size{.context_tokens = context_tokens, .question_tokens = 20, .max_tokens = 10, .window = 8192};
  size.attention.reread_tokens = reread_tokens;
  return size;
}

RereadPlan planned(const AnswerSize& size, std::uint64_t opening_tokens, const std::vector<Evidence>& evidence) {
  const auto plan = plan_reread(size, opening_tokens, evidence);
  if (const auto* error = std::get_if<protocol::Error>(&plan)) throw *error;
  return std::get<RereadPlan>(plan);
}

TEST(RereadPlan, HoldsTheBeginningTheEvidenceWithItsNeighboursAndTheWindow) {
  const RereadPlan plan = planned(size_of(20'000, 1024), 5, {{{9600, 9616}, 0.5f}, {{4992, 5024}, 0.4f}});
  EXPECT_EQ(plan.ranges, (std::vector<TokenRange>{{0, 128}, {4976, 5040}, {9584, 9632}, {19'488, 20'000}}));
  EXPECT_EQ(plan.tokens, 128u + 64u + 48u + 512u);
  EXPECT_EQ(plan.answer, (AnswerPlan{10, AttentionMode::exact}));
}

TEST(RereadPlan, KeepsAFrameThatIsLongerThanABlockWhole) {
  EXPECT_EQ(planned(size_of(20'000, 16), 300, {}).ranges, (std::vector<TokenRange>{{0, 304}, {19'488, 20'000}}));
}

TEST(RereadPlan, TakesTheBestEvidenceUntilItsTokensAreSpent) {
  const std::vector<Evidence> evidence{{{9600, 9616}, 0.5f}, {{4992, 5024}, 0.4f}};
  EXPECT_EQ(planned(size_of(20'000, 48), 0, evidence).ranges,
            (std::vector<TokenRange>{{0, 128}, {9584, 9632}, {19'488, 20'000}}));
  EXPECT_EQ(planned(size_of(20'000, 64), 0, evidence).ranges,
            (std::vector<TokenRange>{{0, 128}, {4976, 4992}, {9584, 9632}, {19'488, 20'000}}));
}

TEST(RereadPlan, LeavesOutWhatHasMuchLessMassThanTheBest) {
  const std::vector<Evidence> evidence{{{9600, 9616}, 0.8f}, {{4992, 5024}, 0.6f}, {{2000, 2016}, 0.59f}};
  EXPECT_EQ(planned(size_of(20'000, 1024), 0, evidence).ranges,
            (std::vector<TokenRange>{{0, 128}, {4976, 5040}, {9584, 9632}, {19'488, 20'000}}));
}

TEST(RereadPlan, TakesLessEvidenceWhereTheWindowIsFull) {
  AnswerSize size = size_of(20'000, 1024);
  size.max_tokens = 8192 - 20 - 128 - 512 - 48;
  const std::vector<Evidence> evidence{{{9600, 9616}, 0.5f}, {{4992, 5024}, 0.4f}};
  EXPECT_EQ(planned(size, 0, evidence).tokens, 128u + 512u + 48u);
  size.max_tokens = 8192 - 20 - 128 - 512;
  EXPECT_EQ(planned(size, 0, evidence).tokens, 128u + 512u);
  ++*size.max_tokens;
  const auto refused = plan_reread(size, 0, evidence);
  ASSERT_TRUE(std::holds_alternative<protocol::Error>(refused));
  EXPECT_EQ(std::get<protocol::Error>(refused).code(), ErrorCode::context_length_exceeded);
}

TEST(RereadPlan, LeavesToTheAnswerWhatTheWindowLeaves) {
  AnswerSize size = size_of(20'000, 1024);
  size.max_tokens.reset();
  EXPECT_EQ(planned(size, 0, {}).answer.max_tokens, 8192u - 128u - 512u - 20u);
}

TEST(RereadPlan, TakesNoTokenTwiceOrFromBehindTheEnd) {
  const RereadPlan plan = planned(size_of(700, 1024), 0, {{{112, 144}, 0.5f}, {{176, 192}, 0.4f}});
  EXPECT_EQ(plan.ranges, (std::vector<TokenRange>{{0, 700}}));
  EXPECT_EQ(plan.tokens, 700u);
}

// -- queries ----------------------------------------------------------------------------------------------------

class RereadTest : public CoordinatorTest {
 protected:
  static constexpr std::size_t kTokens = 9000;

  static std::string document() { return std::string(kTokens, '.').replace(5000, 10, "lighthouse"); }
  static std::string excerpts() {
    return document().substr(0, 128) + document().substr(4976, 64) + document().substr(8480);
  }
  static std::vector<TokenId> expected_answer(const std::string& prompt, std::size_t count) {
    std::vector<TokenId> before(prompt.begin(), prompt.end());
    for (std::size_t i = 0; i < count; ++i) before.push_back(fake_next_token(before));
    return {before.end() - static_cast<std::ptrdiff_t>(count), before.end()};
  }
  static ContextId make_context(RunningCoordinator& coordinator, const std::string& text) {
    protocol::ContextDescription description;
    description.frame = protocol::Frame::raw;
    const ContextId id = coordinator.submit(text, description);
    coordinator.wait_for(id, ContextStatus::completed);
    return id;
  }
  static QueryRequest request(ContextId id) {
    return {.context = id,
            .prompt = std::string("lighthouse"),
            .max_tokens = 6,
            .attention = protocol::default_attention()};
  }
  static void expect_reread(const QueryRecord& record) {
    ASSERT_TRUE(eventually([&] { return record.is_ended(); }));
    ASSERT_TRUE(record.finished) << record.failed->message();
    EXPECT_EQ(record.tokens, expected_answer(excerpts() + "lighthouse", 6));
    ASSERT_TRUE(record.result.reread);
    EXPECT_EQ(record.result.reread->ranges, (std::vector<TokenRange>{{0, 128}, {4976, 5040}, {8480, 9000}}));
    EXPECT_EQ(record.result.reread->computed_tokens, excerpts().size());
  }
  std::size_t objects_on_disk() {
    const std::lock_guard lock(disk_.mutex);
    return disk_.volumes[protocol::VolumeId{11}].objects.size();
  }
  // Nothing is left but the document of three chunks.
  void expect_nothing_leaks(RunningCoordinator& coordinator) {
    EXPECT_TRUE(eventually([&] { return objects_on_disk() == 3; }));
    const auto counted = coordinator.on_loop([](auto& self) { return self.contexts->count_by_status(); });
    for (const auto& [status, count] : counted) EXPECT_EQ(count, status == "completed" ? 1u : 0u) << status;
  }
};

TEST_F(RereadTest, AnswersBehindTheExcerptsAndForgetsThem) {
  RunningCoordinator coordinator(directory_.path());
  const auto group = start_group(coordinator);
  const ContextId id = make_context(coordinator, document());
  const auto record = coordinator.ask(request(id));
  expect_reread(*record);
  EXPECT_EQ(record->finished->prompt_tokens, kTokens + 10);
  EXPECT_EQ(record->finished->cached_tokens, kTokens);
  EXPECT_EQ(record->finished->completion_tokens, 6u);
  EXPECT_TRUE(record->progress.empty());
  EXPECT_EQ(record->result.attention.mode, AttentionMode::retrieval);
  EXPECT_EQ(record->result.attention.context_tokens, kTokens);
  EXPECT_FALSE(record->result.attention.second_pass);
  EXPECT_TRUE(record->result.provenance.empty());
  EXPECT_EQ(group->counts().answers_started, 2u);
  EXPECT_EQ(group->counts().last_started->attention, protocol::AttentionSpec{.mode = AttentionMode::exact});
  EXPECT_NE(coordinator.metrics().find(R"(rotulus_answers_total{attention="retrieval"} 1)"), std::string::npos);
  EXPECT_NE(coordinator.metrics().find(R"(rotulus_answers_total{attention="exact"} 0)"), std::string::npos);
  expect_nothing_leaks(coordinator);
}

TEST_F(RereadTest, TellsTheProvenanceOfTheDocument) {
  RunningCoordinator coordinator(directory_.path());
  const auto group = start_group(coordinator);
  QueryRequest asked = request(make_context(coordinator, document()));
  asked.attention.wants_provenance = true;
  const auto record = coordinator.ask(asked);
  expect_reread(*record);
  ASSERT_EQ(record->result.provenance.size(), 1u);
  EXPECT_EQ(record->result.provenance[0].range, (TokenRange{4992, 5024}));
  EXPECT_EQ(record->result.provenance[0].text, "........lighthouse..............");
}

TEST_F(RereadTest, ReadsNothingAgainThatIsReadExactly) {
  RunningCoordinator coordinator(directory_.path());
  const auto group = start_group(coordinator);
  const ContextId id = make_context(coordinator, "a lighthouse");
  const auto record = coordinator.ask(request(id));
  ASSERT_TRUE(eventually([&] { return record->is_ended(); }));
  EXPECT_EQ(record->tokens, expected_answer("a lighthouselighthouse", 6));
  EXPECT_FALSE(record->result.reread);
  EXPECT_EQ(group->counts().answers_started, 1u);
}

TEST_F(RereadTest, ReadsAPromptBeyondTheWindowAgain) {
  RunningCoordinator coordinator(directory_.path());
  const auto group = start_group(coordinator);
  const std::string question = std::string(246, '?') + "lighthouse";  // kPromptQuestionTokens
  std::string prompt = document().substr(0, kTokens - 256) + question;
  prompt.replace(4000, 256, question);
  const auto record = coordinator.ask(
      {.prompt = prompt, .max_tokens = 3, .attention = {.mode = AttentionMode::automatic, .reread_tokens = 512}});
  ASSERT_TRUE(eventually([&] { return record->is_ended(); }));
  ASSERT_TRUE(record->finished) << record->failed->message();
  const std::vector<TokenRange> ranges{{0, 128}, {3984, 4272}, {8224, 8744}};
  EXPECT_EQ(record->result.reread->ranges, ranges);
  std::string again;
  for (const TokenRange range : ranges) again += prompt.substr(range.begin, range.count());
  EXPECT_EQ(record->tokens, expected_answer(again + question, 3));
}

TEST_F(RereadTest, GoesOnWhereItIsWhenTheGroupIsLostBetweenTheRuns) {
  RunningCoordinator coordinator(directory_.path());
  auto group = start_group(coordinator);
  const ContextId id = make_context(coordinator, document());
  group->order({.stall_computing_at = 0});
  const auto record = coordinator.ask(request(id));
  ASSERT_TRUE(eventually([&] { return group->counts().chunks_asked == 4; }));
  const protocol::AttentionSpec votes = group->counts().last_started->attention;
  EXPECT_TRUE(votes.wants_provenance && !votes.second_pass);
  EXPECT_EQ(votes.positions, protocol::PositionPolicy::block_constant);
  coordinator.lose(*group);
  group = start_group(coordinator, {.stall_answers_at = 2});
  ASSERT_TRUE(eventually([&] { return record->tokens_now().size() == 2; }));
  coordinator.lose(*group);  // and once more, behind the excerpts
  group = start_group(coordinator);
  expect_reread(*record);
  EXPECT_EQ(group->counts().tokens_computed, 0u);
  expect_nothing_leaks(coordinator);
}

TEST_F(RereadTest, LeavesNothingWhenTheClientGoesAway) {
  RunningCoordinator coordinator(directory_.path());
  const auto group = start_group(coordinator);
  const ContextId id = make_context(coordinator, document());
  group->order({.stall_computing_at = 0});
  const auto filling = coordinator.ask(request(id));
  ASSERT_TRUE(eventually([&] { return group->counts().chunks_asked == 4; }));
  coordinator.drop(*filling);
  group->order({.stall_answers_at = 2});
  const auto answering = coordinator.ask(request(id));
  ASSERT_TRUE(eventually([&] { return answering->tokens_now().size() == 2; }));
  coordinator.drop(*answering);
  EXPECT_TRUE(eventually([&] { return group->counts().answers_cancelled == 1; }));
  expect_nothing_leaks(coordinator);
}

}  // namespace
}  // namespace rotulus::coordinator::testing
