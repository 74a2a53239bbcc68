#include "memory_store/policies/least_frequently_used.h"

#include <bit>
#include <limits>

namespace rotulus::memory_store {
namespace {

constexpr std::size_t kRings = std::numeric_limits<std::uint8_t>::digits + 1;

// A block that was not found counts too, or else the favourites of the past would stay where nothing of the present is
// found. But little: a loop of up to sixteen times the slots keeps the counts by which it is found.
constexpr std::size_t kCostOfFind = 16;
constexpr std::size_t kCostOfMiss = 1;

std::size_t ring_of(std::uint8_t count) {
  return static_cast<std::size_t>(std::bit_width(count));
}

}  // namespace

LeastFrequentlyUsed::LeastFrequentlyUsed(std::size_t slot_count)
    : counts_(slot_count), tracked_(slot_count, kRings), cost_until_halving_(kCostOfFind * slot_count) {}

void LeastFrequentlyUsed::place(Slot slot) {
  counts_[slot] = 0;
}

void LeastFrequentlyUsed::use(Slot slot) {
  std::uint8_t& count = counts_[slot];
  const std::size_t cost = count > 0 ? kCostOfFind : kCostOfMiss;  // the first use is that for which it was placed
  if (count < std::numeric_limits<std::uint8_t>::max()) ++count;
  if (cost_until_halving_ <= cost) return halve_counts();
  cost_until_halving_ -= cost;
}

void LeastFrequentlyUsed::track(Slot slot) {
  tracked_.push_back(ring_of(counts_[slot]), slot);
}

void LeastFrequentlyUsed::untrack(Slot slot) {
  tracked_.remove(slot);
}

std::optional<Slot> LeastFrequentlyUsed::next() const {
  if (const auto forgotten = tracked_.front(0)) return forgotten;
  for (std::size_t ring = 1; ring < kRings; ++ring) {
    if (const auto slot = tracked_.back(ring)) return slot;
  }
  return std::nullopt;
}

// Half the count is one logarithm less: each ring, in its order, goes behind the one below.
void LeastFrequentlyUsed::halve_counts() {
  cost_until_halving_ = kCostOfFind * counts_.size();
  for (std::size_t ring = 1; ring < kRings; ++ring) {
    while (const auto slot = tracked_.front(ring)) {
      tracked_.remove(*slot);
      tracked_.push_back(ring - 1, *slot);
    }
  }
  for (std::uint8_t& count : counts_) count = static_cast<std::uint8_t>(count / 2);
}

}  // namespace rotulus::memory_store
