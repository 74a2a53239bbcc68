// The tokens of a question and how likely each was: against the logits of the row before it, over step sizes, ranks and
// passes.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <mutex>
#include <numeric>

#include "tests/support/local_group.h"
#include "tests/support/model_file.h"
#include "tests/support/same_bytes.h"

namespace rotulus::testing {
namespace {

using protocol::AnswerToken;
using protocol::TokenId;

constexpr protocol::ContextId kContext{7};

struct Asked {
  std::uint32_t ranks = 1;
  std::uint32_t step_tokens = 0;
  std::size_t context_tokens = 0;  // 0: none
  std::size_t question_tokens = 0;
  std::uint32_t max_tokens = 0;
  protocol::AttentionSpec attention = {.mode = protocol::AttentionMode::exact};
};

struct Scored {
  std::vector<TokenId> question;
  std::vector<AnswerToken> told;                       // of the question
  std::vector<AnswerToken> answer;                     // of the answer
  std::map<std::uint64_t, std::vector<float>> logits;  // of the last time that each row of the question ran
};

Scored run(const Asked& asked) {
  const auto store = std::filesystem::temp_directory_path() / fmt::format("scores-{}", ::getpid());
  Scored scored;
  {
    std::mutex mutex;
    LocalGroupConfig config{.model_path = model_file(), .store_path = store, .ranks = asked.ranks};
    config.step_tokens = asked.step_tokens;
    config.retrieval = {1, 1024, 256};
    config.window = 1024;
    LocalGroup group(config, [&](const worker::StepItem& item, std::size_t row, std::span<const float> logits) {
      if (item.kind != worker::StepItem::Kind::question) return;
      const std::lock_guard lock(mutex);
      scored.logits[item.first_position + row - asked.context_tokens] = {logits.begin(), logits.end()};
    });
    auto ids = make_prompt(asked.context_tokens + asked.question_tokens, group.model().hyperparameters.vocabulary);
    scored.question.assign(ids.begin() + static_cast<std::ptrdiff_t>(asked.context_tokens), ids.end());
    ids.resize(asked.context_tokens);
    if (!ids.empty()) group.commit_context(kContext, ids);
    protocol::StartAnswer start{.request = {1}, .question = scored.question};
    if (!ids.empty()) start.context = kContext;
    start.sampling = {.temperature = 0, .logprobs = 3};
    start.max_tokens = asked.max_tokens;
    start.ignore_eos = true;
    start.attention = asked.attention;
    start.scores_question = true;
    for (const AnswerToken& token : group.answer(start)) {
      (token.is_of_question ? scored.told : scored.answer).push_back(token);
    }
  }
  std::filesystem::remove_all(store);
  return scored;
}

double log_softmax(const std::vector<float>& logits, TokenId token) {
  const double largest = *std::max_element(logits.begin(), logits.end());
  const double sum = std::accumulate(logits.begin(), logits.end(), 0.0, [&](double before, float logit) {
    return before + std::exp(static_cast<double>(logit) - largest);
  });
  return logits[token] - largest - std::log(sum);
}

void expect_scores(const Scored& scored) {
  ASSERT_EQ(scored.told.size(), scored.question.size());
  for (std::uint32_t i = 0; i < scored.told.size(); ++i) {
    const AnswerToken& told = scored.told[i];
    ASSERT_EQ(told.index, i);
    ASSERT_EQ(told.token, scored.question[i]);
    if (i == 0) {
      EXPECT_EQ(told.logprob, 0.0f);
      EXPECT_TRUE(told.top.empty());
      continue;
    }
    const std::vector<float>& logits = scored.logits.at(i - 1);
    ASSERT_FLOAT_EQ(told.logprob, static_cast<float>(log_softmax(logits, told.token))) << i;
    ASSERT_EQ(told.top.size(), 3u);
    ASSERT_EQ(logits[told.top[0].token], *std::max_element(logits.begin(), logits.end())) << i;
  }
}

TEST(QuestionScores, AreThoseOfTheLogitsBeforeEachToken) {
  const Scored scored = run({.question_tokens = 300, .max_tokens = 4});
  expect_scores(scored);
  ASSERT_EQ(scored.answer.size(), 4u);
  EXPECT_EQ(scored.answer[0].index, 0u);
  EXPECT_EQ(scored.answer[0].token, scored.answer[0].top[0].token);
}

TEST(QuestionScores, DoNotDependOnStepsAndRanks) {
  const Scored one = run({.context_tokens = 500, .question_tokens = 200});
  expect_scores(one);
  EXPECT_TRUE(one.answer.empty());
  EXPECT_EQ(run({.ranks = 2, .step_tokens = 37, .context_tokens = 500, .question_tokens = 200}).told, one.told);
}

TEST(QuestionScores, OfOneTokenAreNone) {
  expect_scores(run({.question_tokens = 1}));
}

// The last 512 tokens run twice: each is told once, as the second time has it.
TEST(QuestionScores, AreThoseOfTheSecondPass) {
  expect_scores(
      run({.context_tokens = 1100,
           .question_tokens = 610,
           .attention = {.mode = protocol::AttentionMode::retrieval, .budget_tokens = 256, .local_tokens = 128}}));
}

}  // namespace
}  // namespace rotulus::testing
