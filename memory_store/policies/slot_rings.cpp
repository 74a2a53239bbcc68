#include "memory_store/policies/slot_rings.h"

namespace rotulus::memory_store {

SlotRings::SlotRings(std::size_t slot_count, std::size_t ring_count)
    : slot_count_(slot_count), links_(slot_count + ring_count) {
  for (std::size_t ring = 0; ring < ring_count; ++ring) links_[head(ring)] = {head(ring), head(ring)};
}

void SlotRings::push_back(std::size_t ring, Slot slot) {
  const Slot last = links_[head(ring)].before;
  links_[slot] = {last, head(ring)};
  links_[last].after = slot;
  links_[head(ring)].before = slot;
}

void SlotRings::remove(Slot slot) {
  const auto [before, after] = links_[slot];
  links_[before].after = after;
  links_[after].before = before;
}

std::optional<Slot> SlotRings::front(std::size_t ring) const {
  if (is_empty(ring)) return std::nullopt;
  return links_[head(ring)].after;
}

std::optional<Slot> SlotRings::back(std::size_t ring) const {
  if (is_empty(ring)) return std::nullopt;
  return links_[head(ring)].before;
}

}  // namespace rotulus::memory_store
