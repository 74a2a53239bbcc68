// Random numbers without a state: the n-th number of a seed is computed from (seed, n) alone.
//
// Philox4x32-10 (Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
#pragma once

#include <array>
#include <cstdint>

namespace rotulus::worker::sampler {

using PhiloxCounter = std::array<std::uint32_t, 4>;
using PhiloxKey = std::array<std::uint32_t, 2>;

PhiloxCounter philox(PhiloxCounter counter, PhiloxKey key);

// In [0, 1), with 53 random bits. Counter: the index, low word first; key: the seed, low word first.
double uniform(std::uint64_t seed, std::uint64_t index);

}  // namespace rotulus::worker::sampler
