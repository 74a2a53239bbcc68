// Every named method on one store: what none of them may change, and what they say of what they leave out. The document
// is read once for all of them.
#include "protocol/methods.h"

#include <gtest/gtest.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <mutex>

#include "tests/support/local_group.h"
#include "tests/support/model_file.h"
#include "tests/support/same_bytes.h"

namespace rotulus::testing {
namespace {

using protocol::AttentionMode;
using protocol::AttentionSpec;
using protocol::PositionPolicy;
using protocol::TokenId;

struct Answer {
  std::vector<TokenId> tokens;
  std::vector<std::uint64_t> logits;  // hashes, row after row
  protocol::AttentionReport report;
  bool operator==(const Answer&) const = default;
};

struct Document {
  std::size_t tokens = 0;
  std::uint32_t window = 0;  // 0: the model's
  protocol::RetrievalParameters retrieval;
  std::uint32_t ranks = 1;
  std::uint32_t step_tokens = 0;
};

constexpr std::size_t kQuestionTokens = 70;
constexpr protocol::ContextId kContext{7};

// A worker group that has read a document.
class Reader final {
 public:
  explicit Reader(const Document& document)
      : store_(std::filesystem::temp_directory_path() / fmt::format("methods-{}-{}", ::getpid(), serial_++)) {
    LocalGroupConfig config;
    config.model_path = model_file();
    config.store_path = store_;
    config.ranks = document.ranks;
    config.step_tokens = document.step_tokens;
    config.retrieval = document.retrieval;
    config.window = document.window;
    group_.emplace(config, [this](const worker::StepItem& item, std::size_t, std::span<const float> logits) {
      std::lock_guard lock(mutex_);
      logits_[item.request.value][item.sample_index] = XXH3_64bits(logits.data(), logits.size_bytes());
    });
    auto ids = make_prompt(document.tokens + kQuestionTokens, group_->model().hyperparameters.vocabulary);
    question_.assign(ids.end() - kQuestionTokens, ids.end());
    ids.resize(document.tokens);
    group_->commit_context(kContext, ids);
  }
  ~Reader() {
    group_.reset();
    std::filesystem::remove_all(store_);
  }

  Answer ask(const AttentionSpec& spec) {
    protocol::StartAnswer start;
    start.request = {++request_};
    start.context = kContext;
    start.question = question_;
    start.sampling.temperature = 0;
    start.max_tokens = 12;
    start.ignore_eos = true;
    start.attention = spec;
    group_->send(start);
    Answer answer;
    while (true) {
      const protocol::Message message = group_->receive();
      if (const auto* failed = std::get_if<protocol::AnswerFailed>(&message)) throw std::runtime_error(failed->message);
      if (const auto* token = std::get_if<protocol::AnswerToken>(&message)) answer.tokens.push_back(token->token);
      if (const auto* over = std::get_if<protocol::AnswerFinished>(&message)) {
        answer.report = over->attention;
        break;
      }
    }
    std::lock_guard lock(mutex_);
    for (const auto& [index, hash] : logits_[start.request.value]) answer.logits.push_back(hash);
    return answer;
  }

 private:
  static inline int serial_ = 0;
  std::filesystem::path store_;
  std::optional<LocalGroup> group_;
  std::vector<TokenId> question_;
  std::uint64_t request_ = 0;
  std::mutex mutex_;
  std::map<std::uint64_t, std::map<std::uint64_t, std::uint64_t>> logits_;  // [request][index]
};

// All methods that select, and choices that none of them makes.
std::map<std::string, AttentionSpec> choices() {
  std::map<std::string, AttentionSpec> choices;
  for (const protocol::Method& method : protocol::methods()) {
    const bool is_reread = method.spec.reread_tokens > 0;  // by the coordinator: to a worker it is another method
    if (method.spec.mode != AttentionMode::exact && !is_reread) choices[method.name] = method.spec;
  }
  choices["block_constant"] = {.second_pass = false, .positions = PositionPolicy::block_constant};
  choices["true_near"] = {.second_pass = false, .positions = PositionPolicy::true_near};
  choices["clamped"] = {.second_pass = false, .positions = PositionPolicy::clamped};
  choices["half"] = {.second_pass = false, .top_p = 0.5f};
  choices["candidates"] = {.second_pass = false, .reselect_every = 1, .rescan_every = 64, .candidate_pages = 20};
  choices["candidate_blocks"] = {.second_pass = false,
                                 .vote_over = protocol::VoteScope::layer,
                                 .unit = protocol::SelectionUnit::block,
                                 .reselect_every = 2,
                                 .candidate_pages = 20};
  choices["narrowed"] = {.second_pass = false, .scan_share = 0.4f};
  choices["layer_maximum"] = {.vote_over = protocol::VoteScope::layer, .reselect_every = 64};
  for (auto& [name, spec] : choices) spec.mode = AttentionMode::retrieval;
  return choices;
}

constexpr protocol::LandmarkKinds kWithCentroids = protocol::kDefaultLandmarks | protocol::kKeepsCentroids;

TEST(Methods, OfEverythingInsideTheWindowAreExactAttention) {
  Reader reader({.tokens = 700, .retrieval = {1, 8192, 2048, kWithCentroids}});
  const Answer exact = reader.ask({.mode = AttentionMode::exact});
  for (auto [name, spec] : choices()) {
    spec.budget_tokens = 4096;
    spec.local_tokens = 128;
    spec.top_p = 1;
    spec.wants_missed_mass = true;
    const Answer answer = reader.ask(spec);
    EXPECT_EQ(answer.logits, exact.logits) << name;
    EXPECT_EQ(answer.tokens, exact.tokens) << name;
    EXPECT_EQ(answer.report.attended_tokens, 700u) << name;
    EXPECT_EQ(answer.report.blocks_read, exact.report.blocks_read) << name;
    ASSERT_TRUE(answer.report.missed_mass) << name;
    EXPECT_EQ(answer.report.missed_mass->worst, 0.0f) << name;
  }
}

// Beyond a window of 512 positions, over other ranks and steps.
TEST(Methods, GiveTheSameBytesForEveryNumberOfRanks) {
  Document document{.tokens = 1230, .window = 512, .retrieval = {1, 512, 128, kWithCentroids}};
  Reader one(document);
  document.ranks = 3;
  document.step_tokens = 200;
  Reader three(document);
  std::map<std::string, Answer> answers;
  for (auto [name, spec] : choices()) {
    spec.budget_tokens = std::min(spec.budget_tokens, 256u);
    spec.local_tokens = 128;
    spec.wants_missed_mass = true;
    answers[name] = one.ask(spec);
    EXPECT_TRUE(answers[name] == three.ask(spec)) << name;
  }
  const std::uint64_t fixed = 128 + 1230 - (1230 - 128) / 128 * 128;
  for (const auto& [name, answer] : answers) {
    EXPECT_LE(answer.report.attended_tokens, fixed + 256) << name;
    EXPECT_EQ(answer.report.pinned_pages > 0, choices()[name].second_pass) << name;
    for (auto other = answers.upper_bound(name); other != answers.end(); ++other) {
      EXPECT_NE(answer.logits, other->second.logits) << name << " " << other->first;
    }
  }
  EXPECT_EQ(answers["streaming_llm"].report.attended_tokens, fixed);
  EXPECT_FALSE(answers["streaming_llm"].report.missed_mass);
  EXPECT_LT(answers["streaming_llm"].report.blocks_read, answers["moba"].report.blocks_read);
  EXPECT_LT(answers["half"].report.blocks_read, answers["one_pass"].report.blocks_read);
  EXPECT_LT(answers["infllm"].report.blocks_read, answers["one_pass"].report.blocks_read) << "whole blocks, one list";
}

// The estimate against attention to everything: on average it is right within a factor of two, and it falls as the
// truth does. Looking leaves no trace.
TEST(Methods, EstimateWhatTheyLeaveOut) {
  Reader reader({.tokens = 2430, .window = 1024, .retrieval = {1, 1024, 256}});
  for (const std::string name : {"two_pass", "page_means", "tokenselect"}) {
    AttentionSpec spec = choices()[name];
    spec.local_tokens = 256;
    spec.wants_missed_mass = true;
    protocol::MissedMass before{.mean = 1, .true_mean = 1};
    for (const std::uint32_t budget : {128u, 512u, 1536u}) {
      spec.budget_tokens = budget;
      spec.audits = true;
      const Answer audited = reader.ask(spec);
      ASSERT_TRUE(audited.report.missed_mass && audited.report.missed_mass->is_audited);
      const protocol::MissedMass missed = *audited.report.missed_mass;
      EXPECT_LT(missed.true_mean, before.true_mean) << name << " " << budget;
      EXPECT_LT(missed.mean, before.mean) << name << " " << budget;
      EXPECT_GT(missed.mean, missed.true_mean / 2) << name << " " << budget;
      EXPECT_LT(missed.mean, missed.true_mean * 2) << name << " " << budget;
      EXPECT_GE(missed.worst, missed.mean);
      EXPECT_GE(missed.true_worst, missed.true_mean);
      before = missed;
    }
    const Answer audited = reader.ask(spec);
    spec.audits = false;
    const Answer silent = reader.ask(spec);
    EXPECT_EQ(silent.logits, audited.logits);
    EXPECT_EQ(silent.report.missed_mass, (protocol::MissedMass{before.mean, before.worst}));
  }
}

// Candidates that are everything are no restriction; as many as the budget holds are the last scan's selection.
TEST(Methods, SelectAmongTheCandidatesOfTheLastScan) {
  Reader reader({.tokens = 1230, .window = 512, .retrieval = {1, 512, 128}});
  const auto ask = [&](std::uint32_t reselect, std::uint32_t rescan, std::uint32_t candidates) {
    AttentionSpec spec{.mode = AttentionMode::retrieval, .budget_tokens = 128, .local_tokens = 128};
    spec.second_pass = false;
    spec.reselect_every = reselect;
    spec.rescan_every = rescan;
    spec.candidate_pages = candidates;
    return reader.ask(spec).logits;
  };
  const auto each = ask(1, 1, 1);
  EXPECT_EQ(ask(1, 64, 1000), each);
  EXPECT_EQ(ask(1, 64, 1), ask(64, 64, 1));
  EXPECT_NE(ask(1, 64, 1), each);
  EXPECT_NE(ask(1, 64, 20), each);
}

// What a first stage by means keeps from being chosen is told by an audit, which leaves no trace.
TEST(Methods, TellWhatTheirFirstStageCost) {
  Reader reader({.tokens = 2430, .window = 1024, .retrieval = {1, 1024, 256}});
  AttentionSpec spec{.mode = AttentionMode::retrieval, .budget_tokens = 128, .local_tokens = 256};
  spec.second_pass = false;
  float before = 0;
  for (const float share : {0.1f, 0.3f, 1.0f}) {
    spec.scan_share = share;
    spec.wants_missed_mass = spec.audits = true;
    const Answer audited = reader.ask(spec);
    ASSERT_TRUE(audited.report.missed_mass);
    EXPECT_GT(audited.report.missed_mass->scan_recall, before) << share;
    before = audited.report.missed_mass->scan_recall;
    spec.audits = false;
    const Answer told = reader.ask(spec);
    EXPECT_EQ(told.logits, audited.logits);
    EXPECT_EQ(told.report.missed_mass->mean, audited.report.missed_mass->mean) << "the last row sees all pages";
    spec.wants_missed_mass = false;
    EXPECT_EQ(reader.ask(spec).logits, audited.logits);
  }
  EXPECT_EQ(before, 1.0f);
}

// In every query that is audited, over methods that show far blocks in all places, within the window and beyond it.
TEST(Methods, LeaveOutNoMoreThanBoundsOfTheKeysAllow) {
  constexpr protocol::LandmarkKinds kAll = protocol::kKnownLandmarks;
  Reader inside({.tokens = 700, .retrieval = {1, 8192, 2048, kAll}});
  Reader beyond({.tokens = 1230, .window = 512, .retrieval = {1, 512, 128, kAll}});
  for (const std::string name : {"quest", "clamped"}) {
    AttentionSpec spec = choices()[name];
    spec.local_tokens = 128;
    spec.wants_missed_mass = spec.audits = true;
    for (const std::uint32_t budget : {64u, 256u}) {
      spec.budget_tokens = budget;
      for (Reader* reader : {&inside, &beyond}) {
        const Answer answer = reader->ask(spec);
        ASSERT_TRUE(answer.report.missed_mass && answer.report.missed_mass->is_bounded) << name;
        const protocol::MissedMass missed = *answer.report.missed_mass;
        EXPECT_LE(missed.true_mean, missed.bound_mean) << name << " " << budget;
        EXPECT_LE(missed.true_worst, missed.bound_worst) << name << " " << budget;
        EXPECT_LE(missed.bound_worst, 1.0f) << name << " " << budget;
        EXPECT_EQ(answer.report.landmark, spec.landmark) << name;
      }
    }
    spec.budget_tokens = 2048;
    EXPECT_EQ(inside.ask(spec).report.missed_mass->bound_worst, 0.0f) << name << ": nothing is left out";
  }
}

}  // namespace
}  // namespace rotulus::testing
