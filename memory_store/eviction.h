// Which block leaves host memory first. A policy knows slots, never blocks; what it says costs or saves time, and
// nothing else.
//
//   place ──► track ⇄ untrack ──► another place, or forgotten
//
// Only tracked slots may leave: one that is pinned or not yet written is not tracked. All verbs are O(1), on average.
// Threads: none of its own; guarded by its owner.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>

namespace rotulus::memory_store {

using Slot = std::uint32_t;  // index of a block's place in host memory

class EvictionPolicy {
 public:
  virtual ~EvictionPolicy() = default;
  virtual void place(Slot slot) = 0;             // another block lies in it now; REQUIRES: it is not tracked
  virtual void use(Slot slot) = 0;               // its block was asked for; REQUIRES: it is not tracked
  virtual void track(Slot slot) = 0;             // it may leave; REQUIRES: it is not tracked
  virtual void untrack(Slot slot) = 0;           // it may not; REQUIRES: it is tracked
  virtual std::optional<Slot> next() const = 0;  // of those tracked
};

enum class Eviction : std::uint8_t {
  lru,       // least recently used first
  frequent,  // least often used first (policies/least_frequently_used.h)
};

std::unique_ptr<EvictionPolicy> make_eviction_policy(Eviction kind, std::size_t slot_count);

}  // namespace rotulus::memory_store
