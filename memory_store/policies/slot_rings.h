// Rings over the same slots, each slot in one of them at most: lists with a front and a back, without allocation.
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "memory_store/eviction.h"

namespace rotulus::memory_store {

class SlotRings final {
 public:
  SlotRings(std::size_t slot_count, std::size_t ring_count);
  void push_back(std::size_t ring, Slot slot);  // REQUIRES: it is in none
  void remove(Slot slot);                       // REQUIRES: it is in one
  std::optional<Slot> front(std::size_t ring) const;
  std::optional<Slot> back(std::size_t ring) const;
  bool is_empty(std::size_t ring) const { return links_[head(ring)].after == head(ring); }

 private:
  struct Links {
    Slot before, after;
  };
  Slot head(std::size_t ring) const { return static_cast<Slot>(slot_count_ + ring); }

  const std::size_t slot_count_;
  std::vector<Links> links_;  // of the slots, then of each ring's head
};

}  // namespace rotulus::memory_store
