// The block that was used least often of late leaves first.
//
// Attention goes through a context layer by layer, token after token: a loop. Where the loop is longer than memory, the
// least recently used block is the one that comes next, and none is ever found. So of blocks that were used as often as
// each other, the one that was used last leaves first: what lies in memory stays, is found at each turn, and by that is
// used more often than what passes by.
//
// So that what is no longer selected leaves, counts are halved whenever about as many blocks were found as there are
// slots; among those that have come to 0 the oldest leaves first.
#pragma once

#include <vector>

#include "memory_store/eviction.h"
#include "memory_store/policies/slot_rings.h"

namespace rotulus::memory_store {

class LeastFrequentlyUsed final : public EvictionPolicy {
 public:
  explicit LeastFrequentlyUsed(std::size_t slot_count);
  void place(Slot slot) override;
  void use(Slot slot) override;
  void track(Slot slot) override;
  void untrack(Slot slot) override;
  std::optional<Slot> next() const override;

 private:
  void halve_counts();

  std::vector<std::uint8_t> counts_;  // of uses, by slot
  SlotRings tracked_;                 // one ring for each binary logarithm of a count
  std::size_t cost_until_halving_;
};

}  // namespace rotulus::memory_store
