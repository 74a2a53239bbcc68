// From logits to the next token. A pure function of the logits, the parameters, the seed and the token's index: no
// state is carried, so that a replayed answer draws the same tokens.
//
// Order: temperature 0 is greedy (lowest id wins a tie). Otherwise logits / temperature, top-k, top-p, min-p, then one
// draw from a counter-based generator keyed by (seed, index).
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "protocol/ids.h"

namespace rotulus::worker {

struct SamplingParameters {
  float temperature = 1.0f;
  std::uint32_t top_k = 0;  // 0: all
  float top_p = 1.0f;
  float min_p = 0.0f;
  std::uint64_t seed = 0;
  std::uint32_t logprobs = 0;  // how many alternatives to report
};

struct SampledToken {
  protocol::TokenId token = 0;
  float logprob = 0;  // natural log of the softmax of the logits as the model gave them, before temperature
  std::vector<std::pair<protocol::TokenId, float>> top;  // `logprobs` best, descending, ties by id
};

SampledToken sample(std::span<const float> logits, const SamplingParameters& parameters, std::uint64_t index);

// The same report for a token that is already known (a replayed answer).
SampledToken report(std::span<const float> logits, protocol::TokenId token, std::uint32_t logprobs);

}  // namespace rotulus::worker
