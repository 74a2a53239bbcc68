// The RoPE of a file, and how it is stretched beyond the window that it was first trained with.
//
//   none      pair j turns by position * base^(-2j / dims)
//   linear    positions are divided by a factor                                              (Chen et al. 2023)
//   factors   each pair has its own divisor, a tensor of the file: Llama 3's "rope_freqs", and the two sets of LongRoPE
//             (Ding et al. 2024), of which the window of the model chooses one, for all contexts
//   yarn      slow pairs are divided as in linear, fast ones are not, with a ramp between    (Peng et al. 2023)
//
// All of them are divisors of each pair's frequency (kernels::Rope), fixed when the model is loaded, so that a stored
// key does not depend on how long its context became. What cannot be had so (dynamic NTK) is refused.
#pragma once

#include <array>
#include <string>
#include <string_view>

#include "kernels/backend.h"
#include "worker/model/architecture_keys.h"

namespace rotulus::worker {

// The tensors that may be read here, of dims / 2 divisors each.
inline constexpr std::array<std::string_view, 3> kRopeTensors = {"rope_freqs.weight", "rope_factors_long.weight",
                                                                 "rope_factors_short.weight"};

struct ScaledRope {
  kernels::Rope rope;
  // YaRN and LongRoPE lengthen what turned, queries and keys alike, to sharpen the softmax. Keys are stored without it
  // and the turned entries of a query have it twice, which gives the same scores.
  float turned_query_scale = 1;
  std::string scaling;  // "linear 8", for people; empty: none
};

// Errors: as ArchitectureKeys.
ScaledRope read_rope(const ArchitectureKeys& keys, kernels::RopePairing pairing, std::uint32_t head_dim,
                     std::uint32_t context_length);

}  // namespace rotulus::worker
