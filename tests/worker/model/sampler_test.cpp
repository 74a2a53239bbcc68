// The sampler's rules one by one, its draws against the probabilities they are drawn from, and that a draw depends on
// the logits, the parameters, the seed and the index alone.
#include "worker/model/sampler.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>
#include <vector>

#include "protocol/error.h"
#include "worker/model/sampler/philox.h"

namespace rotulus::worker {
namespace {

using protocol::Error;
using protocol::ErrorCode;
using protocol::TokenId;
using Logits = std::vector<float>;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

Logits log_of(std::vector<double> probabilities) {
  Logits logits;
  for (const double p : probabilities) logits.push_back(static_cast<float>(std::log(p)));
  return logits;
}

std::vector<double> frequencies(const Logits& logits, const SamplingParameters& parameters, int draws) {
  std::vector<double> share(logits.size());
  for (int i = 0; i < draws; ++i) share[sample(logits, parameters, static_cast<std::uint64_t>(i)).token] += 1.0 / draws;
  return share;
}

// 20,000 draws: the standard deviation of a share is at most 0.0036; five of them are allowed.
void expect_shares(const Logits& logits, const SamplingParameters& parameters, const std::vector<double>& expected) {
  const auto shares = frequencies(logits, parameters, 20'000);
  for (std::size_t i = 0; i < expected.size(); ++i) {
    if (expected[i] == 0)
      EXPECT_EQ(shares[i], 0) << i;
    else
      EXPECT_NEAR(shares[i], expected[i], 0.018) << i;
  }
}

rc::Gen<Logits> any_logits() {
  return rc::gen::nonEmpty(rc::gen::container<Logits>(
      rc::gen::map(rc::gen::inRange(-300, 300), [](int value) { return static_cast<float>(value) / 20; })));
}

rc::Gen<SamplingParameters> any_parameters() {
  return rc::gen::map(rc::gen::tuple(rc::gen::inRange(0, 30), rc::gen::inRange(0u, 12u), rc::gen::inRange(0, 11),
                                     rc::gen::inRange(0, 11), rc::gen::arbitrary<std::uint64_t>()),
                      [](const auto& values) {
                        const auto& [temperature, top_k, top_p, min_p, seed] = values;
                        return SamplingParameters{.temperature = temperature / 10.0f,
                                                  .top_k = top_k,
                                                  .top_p = top_p / 10.0f,
                                                  .min_p = min_p / 10.0f,
                                                  .seed = seed};
                      });
}

// The known answers of the paper's authors (Random123, kat_vectors).
TEST(Philox, GivesThePublishedNumbers) {
  using sampler::philox;
  using sampler::PhiloxCounter;
  EXPECT_EQ(philox({0, 0, 0, 0}, {0, 0}), (PhiloxCounter{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox({~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}), (PhiloxCounter{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (PhiloxCounter{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Sampler, IsGreedyAtTemperatureZeroAndTheLowestIdWinsATie) {
  EXPECT_EQ(sample(Logits{1, 3, 3, 2}, {.temperature = 0}, 0).token, 1u);
}

TEST(Sampler, DrawsByTheProbabilities) {
  expect_shares(log_of({0.5, 0.3, 0.15, 0.05}), {}, {0.5, 0.3, 0.15, 0.05});
}

TEST(Sampler, DividesByTheTemperature) {
  // Temperature 1/2 squares the probabilities: 0.36, 0.09, 0.01.
  expect_shares(log_of({0.6, 0.3, 0.1}), {.temperature = 0.5f}, {0.36 / 0.46, 0.09 / 0.46, 0.01 / 0.46});
}

TEST(Sampler, KeepsTheTopK) {
  expect_shares(log_of({0.1, 0.4, 0.2, 0.3}), {.top_k = 2}, {0, 0.4 / 0.7, 0, 0.3 / 0.7});
  expect_shares(log_of({0.25, 0.25, 0.25, 0.25}), {.top_k = 2}, {0.5, 0.5, 0, 0});  // of equals, the lower ids
}

TEST(Sampler, KeepsTheTopPWithTheTokenThatCrossesIt) {
  expect_shares(log_of({0.15, 0.5, 0.05, 0.3}), {.top_p = 0.7f}, {0, 0.5 / 0.8, 0, 0.3 / 0.8});
  expect_shares(log_of({0.2, 0.5, 0.3}), {.top_p = 0}, {0, 1, 0});
}

TEST(Sampler, AppliesTopPToWhatTopKLeft) {
  // Of the top two, 0.4 is 0.57 of the mass: enough for 0.5.
  expect_shares(log_of({0.1, 0.4, 0.2, 0.3}), {.top_k = 2, .top_p = 0.5f}, {0, 1, 0, 0});
}

TEST(Sampler, KeepsWhatIsWithinMinPOfTheBest) {
  expect_shares(log_of({0.05, 0.5, 0.15, 0.3}), {.min_p = 0.25f}, {0, 0.5 / 0.95, 0.15 / 0.95, 0.3 / 0.95});
}

RC_GTEST_PROP(Sampler, DrawsTheSameAgainAndOnlyWhatTheFiltersKeep, ()) {
  const Logits logits = *any_logits();
  const SamplingParameters parameters = *any_parameters();
  const auto index = *rc::gen::arbitrary<std::uint64_t>();
  const TokenId token = sample(logits, parameters, index).token;
  RC_ASSERT(sample(logits, parameters, index).token == token);
  const auto likelier = std::count_if(logits.begin(), logits.end(), [&](float logit) { return logit > logits[token]; });
  if (parameters.temperature == 0 || parameters.top_k == 1 || parameters.top_p == 0 || parameters.min_p == 1)
    RC_ASSERT(likelier == 0);
  if (parameters.top_k > 0) RC_ASSERT(likelier < static_cast<std::ptrdiff_t>(parameters.top_k));
}

RC_GTEST_PROP(Sampler, IsNotChangedByAFilterThatRemovesNothing, ()) {
  const Logits logits = *any_logits();
  const auto seed = *rc::gen::arbitrary<std::uint64_t>();
  const auto index = *rc::gen::arbitrary<std::uint64_t>();
  const TokenId token = sample(logits, {.seed = seed}, index).token;
  RC_ASSERT(sample(logits, {.top_k = static_cast<std::uint32_t>(logits.size()), .seed = seed}, index).token == token);
  RC_ASSERT(sample(logits, {.min_p = 1e-30f, .seed = seed}, index).token == token);
}

TEST(Sampler, DrawsAnewForEachSeedAndIndex) {
  const Logits logits(1000, 0.0f);
  std::set<TokenId> by_index;
  std::set<TokenId> by_seed;
  for (std::uint64_t i = 0; i < 100; ++i) {
    by_index.insert(sample(logits, {.seed = 7}, i << 33).token);
    by_seed.insert(sample(logits, {.seed = i << 33}, 7).token);
  }
  EXPECT_GT(by_index.size(), 80u);
  EXPECT_GT(by_seed.size(), 80u);
}

TEST(Sampler, NeverChoosesWhatIsNotANumber) {
  const Logits logits = {kNan, 0, -kInfinity, kNan, 0, kInfinity};
  EXPECT_EQ(sample(logits, {.temperature = 0}, 0).token, 1u);
  expect_shares(logits, {}, {0, 0.5, 0, 0, 0.5, 0});
  expect_shares(logits, {.top_k = 5, .top_p = 0.99f}, {0, 0.5, 0, 0, 0.5, 0});
  EXPECT_FLOAT_EQ(sample(logits, {}, 0).logprob, std::log(0.5f));
}

TEST(Sampler, ReportsLogitsWithoutAnyNumberAsAnError) {
  for (const Logits& logits : {Logits{kNan, kNan}, Logits{-kInfinity}, Logits{}}) {
    try {
      sample(logits, {}, 0);
      ADD_FAILURE();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::internal);
    }
  }
}

TEST(Sampler, ReportsLogProbabilitiesBeforeTemperature) {
  const Logits logits = log_of({0.5, 0.2, 0.25, 0.05});
  const SampledToken sampled = sample(logits, {.temperature = 0.1f, .top_k = 1, .logprobs = 3}, 0);
  EXPECT_EQ(sampled.token, 0u);
  EXPECT_NEAR(sampled.logprob, std::log(0.5), 1e-6);
  ASSERT_EQ(sampled.top.size(), 3u);
  EXPECT_EQ(sampled.top[0].first, 0u);
  EXPECT_EQ(sampled.top[1].first, 2u);
  EXPECT_NEAR(sampled.top[1].second, std::log(0.25), 1e-6);
  EXPECT_EQ(sampled.top[2].first, 1u);
}

TEST(Sampler, OrdersEqualLogProbabilitiesById) {
  const SampledToken sampled = report(Logits{1, 2, kNan, 2, 1}, 4, 9);
  std::vector<TokenId> ids;
  for (const auto& [id, logprob] : sampled.top) ids.push_back(id);
  EXPECT_EQ(ids, (std::vector<TokenId>{1, 3, 0, 4, 2}));
  EXPECT_EQ(sampled.top.back().second, -kInfinity);
}

RC_GTEST_PROP(Sampler, ReportsAKnownTokenAsWhenItWasDrawn, ()) {
  const Logits logits = *any_logits();
  SamplingParameters parameters = *any_parameters();
  parameters.logprobs = *rc::gen::inRange(0u, 8u);
  const SampledToken drawn = sample(logits, parameters, 3);
  const SampledToken again = report(logits, drawn.token, parameters.logprobs);
  RC_ASSERT(again.logprob == drawn.logprob);
  RC_ASSERT(again.top == drawn.top);
}

}  // namespace
}  // namespace rotulus::worker
