#include "memory_store/eviction.h"

namespace rotulus::memory_store {

LeastRecentlyUsed::LeastRecentlyUsed(std::size_t slot_count)
    : links_(slot_count + 1), head_(static_cast<Slot>(slot_count)) {
  links_[head_] = {head_, head_};
}

void LeastRecentlyUsed::track(Slot slot) {
  const Slot last = links_[head_].before;
  links_[slot] = {last, head_};
  links_[last].after = slot;
  links_[head_].before = slot;
  ++size_;
}

void LeastRecentlyUsed::forget(Slot slot) {
  const auto [before, after] = links_[slot];
  links_[before].after = after;
  links_[after].before = before;
  --size_;
}

std::optional<Slot> LeastRecentlyUsed::next() const {
  if (size_ == 0) return std::nullopt;
  return links_[head_].after;
}

}  // namespace rotulus::memory_store
