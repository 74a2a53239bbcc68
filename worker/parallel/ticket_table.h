// Operations that have been posted and not yet waited for, by ticket. Slots are used again; a ticket carries the
// slot's generation, so that one that is spent is never taken for its successor.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "protocol/error.h"
#include "worker/parallel/transport.h"

namespace rotulus::worker {

template <typename Operation>
class TicketTable final {
 public:
  Transport::Ticket add(Operation operation) {
    if (free_.empty()) {
      free_.push_back(static_cast<std::uint32_t>(slots_.size()));
      slots_.push_back({});
    }
    const std::uint32_t slot = free_.back();
    free_.pop_back();
    slots_[slot].operation = std::move(operation);
    slots_[slot].is_used = true;
    return {std::uint64_t{slots_[slot].generation} << 32 | slot};
  }

  // CHECKs that the ticket is not spent.
  Operation& operator[](Transport::Ticket ticket) {
    const auto slot = static_cast<std::uint32_t>(ticket.value);
    CHECK(slot < slots_.size() && slots_[slot].is_used && slots_[slot].generation == ticket.value >> 32, ticket.value);
    return slots_[slot].operation;
  }

  void spend(Transport::Ticket ticket) {
    (*this)[ticket] = {};
    const auto slot = static_cast<std::uint32_t>(ticket.value);
    slots_[slot].is_used = false;
    ++slots_[slot].generation;
    free_.push_back(slot);
  }

 private:
  struct Slot {
    Operation operation;
    std::uint32_t generation = 1;  // never 0: a default Ticket names nothing
    bool is_used = false;
  };
  std::vector<Slot> slots_;
  std::vector<std::uint32_t> free_;
};

}  // namespace rotulus::worker
