// The block that was not used for the longest time leaves first.
#pragma once

#include "memory_store/eviction.h"
#include "memory_store/policies/slot_rings.h"

namespace rotulus::memory_store {

class LeastRecentlyUsed final : public EvictionPolicy {
 public:
  explicit LeastRecentlyUsed(std::size_t slot_count) : tracked_(slot_count, 1) {}
  void place(Slot) override {}
  void use(Slot) override {}
  void track(Slot slot) override { tracked_.push_back(0, slot); }
  void untrack(Slot slot) override { tracked_.remove(slot); }
  std::optional<Slot> next() const override { return tracked_.front(0); }

 private:
  SlotRings tracked_;
};

}  // namespace rotulus::memory_store
