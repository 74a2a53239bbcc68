// The memory of the host tier: reserved once, in huge pages where the system gives them, cut into equal slots.
//
// Pages become resident when a slot is first used; none is ever given back, so memory stays within the reservation.
#pragma once

#include <cstddef>

#include "memory_store/eviction.h"

namespace rotulus::memory_store {

inline constexpr std::size_t kHugePageBytes = 2u << 20;

class HostArena final {
 public:
  // Throws Error{out_of_memory} with the numbers if the system refuses.
  HostArena(std::size_t slot_bytes, std::size_t slot_count);
  ~HostArena();
  HostArena(const HostArena&) = delete;
  HostArena& operator=(const HostArena&) = delete;

  std::byte* slot(Slot index) const { return base_ + std::size_t{index} * slot_bytes_; }

 private:
  std::size_t slot_bytes_;
  std::size_t bytes_;
  std::byte* base_ = nullptr;
};

}  // namespace rotulus::memory_store
