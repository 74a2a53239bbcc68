// Which block leaves host memory first: the least recently used of those that may.
//
// Only candidates are tracked; a block that is pinned or not yet written is not one. A policy knows slots, never
// blocks. All verbs are O(1). Threads: none of its own; guarded by its owner.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace rotulus::memory_store {

using Slot = std::uint32_t;  // index of a block's place in host memory

class LeastRecentlyUsed final {
 public:
  explicit LeastRecentlyUsed(std::size_t slot_count);
  void track(Slot slot);   // as the most recently used; REQUIRES: it is not tracked
  void forget(Slot slot);  // REQUIRES: it is tracked
  std::optional<Slot> next() const;
  std::size_t size() const { return size_; }

 private:
  struct Links {
    Slot before, after;
  };
  std::vector<Links> links_;  // a ring through the tracked slots; the last entry is its head
  Slot head_;
  std::size_t size_ = 0;
};

}  // namespace rotulus::memory_store
