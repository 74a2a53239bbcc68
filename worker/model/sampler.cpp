#include "worker/model/sampler.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "protocol/error.h"
#include "worker/model/sampler/philox.h"

namespace rotulus::worker {
namespace {

using protocol::Error;
using protocol::ErrorCode;
using protocol::TokenId;

// A token and its logit, divided by the temperature. Ordered by likelihood; of equals the lower id is the likelier.
struct Candidate {
  double value = 0;
  TokenId id = 0;
  bool is_likelier_than(const Candidate& other) const {
    return value > other.value || (value == other.value && id < other.id);
  }
};

Candidate require_best(std::span<const float> logits) {
  Candidate best{-std::numeric_limits<double>::infinity()};
  for (std::size_t id = 0; id < logits.size(); ++id)
    if (std::isfinite(logits[id]) && logits[id] > best.value) best = {logits[id], static_cast<TokenId>(id)};
  if (!std::isfinite(best.value))
    throw Error(ErrorCode::internal, fmt::format("none of {} logits is a finite number", logits.size()));
  return best;
}

double log_sum_exp(std::span<const float> logits, double largest) {
  double sum = 0;
  for (const float logit : logits)
    if (std::isfinite(logit)) sum += std::exp(logit - largest);
  return largest + std::log(sum);
}

float log_probability(float logit, double lse) {
  return std::isfinite(logit) ? static_cast<float>(logit - lse) : -std::numeric_limits<float>::infinity();
}

SampledToken report_with(std::span<const float> logits, double lse, TokenId token, std::uint32_t count) {
  SampledToken sampled{.token = token, .logprob = log_probability(logits[token], lse)};
  if (count == 0) return sampled;
  std::vector<std::pair<TokenId, float>> all(logits.size());
  for (std::size_t id = 0; id < logits.size(); ++id)
    all[id] = {static_cast<TokenId>(id), log_probability(logits[id], lse)};
  const auto end = all.begin() + static_cast<std::ptrdiff_t>(std::min<std::size_t>(count, all.size()));
  std::partial_sort(all.begin(), end, all.end(), [](const auto& a, const auto& b) {
    return a.second > b.second || (a.second == b.second && a.first < b.first);
  });
  sampled.top.assign(all.begin(), end);
  return sampled;
}

// The least likely candidate that top-k and top-p keep; `candidates` is reordered.
Candidate least_kept(std::vector<Candidate>& candidates, double largest, const SamplingParameters& parameters) {
  const auto likelier = [](const Candidate& a, const Candidate& b) { return a.is_likelier_than(b); };
  if (parameters.top_k > 0 && parameters.top_k < candidates.size()) {
    std::nth_element(candidates.begin(), candidates.begin() + parameters.top_k - 1, candidates.end(), likelier);
    candidates.resize(parameters.top_k);
  }
  if (parameters.top_p >= 1) return *std::max_element(candidates.begin(), candidates.end(), likelier);
  double total = 0;
  for (const Candidate& candidate : candidates) total += std::exp(candidate.value - largest);
  // The likeliest until their share reaches top_p; the one that crosses it stays. Few are needed, so no full sort.
  const auto less_likely = [](const Candidate& a, const Candidate& b) { return b.is_likelier_than(a); };
  std::make_heap(candidates.begin(), candidates.end(), less_likely);
  double sum = 0;
  while (true) {
    std::pop_heap(candidates.begin(), candidates.end(), less_likely);
    const Candidate likeliest = candidates.back();
    candidates.pop_back();
    sum += std::exp(likeliest.value - largest);
    if (candidates.empty() || sum >= parameters.top_p * total) return likeliest;
  }
}

TokenId draw(std::span<const float> logits, const SamplingParameters& parameters, double uniform) {
  const double temperature = parameters.temperature;
  std::vector<Candidate> candidates;
  candidates.reserve(logits.size());
  for (std::size_t id = 0; id < logits.size(); ++id)
    if (std::isfinite(logits[id])) candidates.push_back({logits[id] / temperature, static_cast<TokenId>(id)});
  const double largest = require_best(logits).value / temperature;
  const double least_value = largest + std::log(static_cast<double>(parameters.min_p));  // min-p: -inf where it is 0
  const Candidate least = least_kept(candidates, largest, parameters);

  // Summed in the order of ids, whatever was left out: a filter that removes nothing changes nothing.
  const auto for_each_kept = [&](auto&& visit) {
    for (std::size_t id = 0; id < logits.size(); ++id) {
      if (!std::isfinite(logits[id])) continue;
      const Candidate candidate{logits[id] / temperature, static_cast<TokenId>(id)};
      if (candidate.value < least_value || least.is_likelier_than(candidate)) continue;
      if (visit(candidate.id, std::exp(candidate.value - largest))) return;
    }
  };
  double total = 0;
  for_each_kept([&](TokenId, double weight) {
    total += weight;
    return false;
  });
  double sum = 0;
  TokenId drawn = 0;
  for_each_kept([&](TokenId id, double weight) {
    if (weight > 0) drawn = id;  // rounding may leave the last sum below the mark
    sum += weight;
    return sum > uniform * total;
  });
  return drawn;
}

}  // namespace

SampledToken sample(std::span<const float> logits, const SamplingParameters& parameters, std::uint64_t index) {
  CHECK(parameters.temperature >= 0 && parameters.top_p >= 0 && parameters.min_p >= 0 && parameters.min_p <= 1,
        parameters.temperature, parameters.top_p, parameters.min_p);
  const Candidate best = require_best(logits);
  const double lse = log_sum_exp(logits, best.value);
  const TokenId token =
      parameters.temperature == 0 ? best.id : draw(logits, parameters, sampler::uniform(parameters.seed, index));
  return report_with(logits, lse, token, parameters.logprobs);
}

SampledToken report(std::span<const float> logits, TokenId token, std::uint32_t logprobs) {
  CHECK(token < logits.size(), token, logits.size());
  return report_with(logits, log_sum_exp(logits, require_best(logits).value), token, logprobs);
}

}  // namespace rotulus::worker
