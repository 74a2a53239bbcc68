#include "memory_store/tiers/host/host_tier.h"

#include <utility>

#include "protocol/error.h"

namespace rotulus::memory_store {
namespace {

std::uint64_t key_in_object(const BlockAddress& address) {
  return static_cast<std::uint64_t>(address.kind) << 48 | std::uint64_t{address.layer} << 32 | address.block;
}

std::size_t align(std::size_t bytes) {
  constexpr std::size_t kAlignment = kernels::kKvElementAlignment;
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

std::size_t count_slots(const HostTierConfig& config) {
  const std::size_t count = config.budget_bytes / align(config.block_bytes);
  if (count == 0) {
    throw protocol::Error(
        protocol::ErrorCode::invalid_argument,
        fmt::format("a host budget of {} bytes does not hold one block of {} bytes; give more with {}",
                    config.budget_bytes, config.block_bytes, config.budget_flag),
        config.budget_field);
  }
  return count;
}

}  // namespace

HostTier::HostTier(const HostTierConfig& config)
    : config_(config),
      slot_bytes_(align(config.block_bytes)),
      arena_(slot_bytes_, count_slots(config)),
      residents_(count_slots(config)),
      candidates_(make_eviction_policy(config.eviction, residents_.size())),
      later_(residents_.size(), 1) {
  free_.reserve(residents_.size());
  for (std::size_t slot = residents_.size(); slot-- > 0;) free_.push_back(static_cast<Slot>(slot));
}

Slot HostTier::place(const BlockAddress& address) {
  std::unique_lock lock(mutex_);
  CHECK(!find(address), to_string(address));
  std::optional<Slot> slot;
  const auto may_go_on = [&] { return (slot = take_slot()).has_value() || unwritten_ == 0; };
  if (!unpinned_.wait_for(lock, config_.write_timeout, may_go_on)) {
    throw protocol::Error(
        protocol::ErrorCode::unavailable,
        fmt::format("host memory is full, and in {} ms the writer wrote none of {} blocks that wait for their volume",
                    config_.write_timeout.count(), unwritten_));
  }
  if (!slot) {
    throw protocol::Error(
        protocol::ErrorCode::out_of_memory,
        fmt::format("no room for {}: host budget {} bytes, {} blocks of {} bytes, all in use at once; give a larger {}",
                    to_string(address), config_.budget_bytes, residents_.size(), slot_bytes_, config_.budget_flag));
  }
  Resident& resident = residents_[*slot];
  resident = Resident{.address = address};
  index_[address.object][key_in_object(address)] = *slot;
  candidates_->place(*slot);
  candidates_->use(*slot);
  resident.pins = 1;
  ++pinned_;
  return *slot;
}

std::optional<Slot> HostTier::pin(const BlockAddress& address) {
  const std::lock_guard lock(mutex_);
  const std::optional<Slot> slot = find(address);
  if (slot) pin_locked(*slot);
  return slot;
}

void HostTier::pin_resident(std::span<const BlockAddress> addresses, std::span<std::optional<Slot>> slots) {
  const std::lock_guard lock(mutex_);
  for (std::size_t i = 0; i < addresses.size(); ++i) {
    slots[i] = find(addresses[i]);
    if (slots[i]) pin_locked(*slots[i]);
  }
}

void HostTier::unpin(std::span<const Slot> slots) {
  {
    const std::lock_guard lock(mutex_);
    for (const Slot slot : slots) unpin_locked(slot);
  }
  unpinned_.notify_all();
}

bool HostTier::is_resident(const BlockAddress& address) const {
  const std::lock_guard lock(mutex_);
  return find(address).has_value();
}

bool HostTier::is_full() const {
  const std::lock_guard lock(mutex_);
  return free_.empty() && !candidates_->next() && later_count_ == 0;
}

void HostTier::begin_write(Slot slot) {
  const std::lock_guard lock(mutex_);
  CHECK(residents_[slot].pins > 0, slot);
  ++unwritten_;
}

void HostTier::end_write(Slot slot) {
  {
    const std::lock_guard lock(mutex_);
    --unwritten_;
    unpin_locked(slot);
  }
  unpinned_.notify_all();
}

std::vector<BlockAddress> HostTier::keep_for_later(std::span<const BlockAddress> addresses) {
  const std::lock_guard lock(mutex_);
  while (const std::optional<Slot> slot = later_.front(0)) {
    untrack(*slot);
    track(*slot, false);
  }
  std::vector<BlockAddress> absent;
  for (const BlockAddress& address : addresses) {
    const std::optional<Slot> slot = find(address);
    if (!slot) {
      absent.push_back(address);
    } else if (residents_[*slot].pins == 0 && !residents_[*slot].is_for_later && later_count_ < residents_.size() / 2) {
      untrack(*slot);
      track(*slot, true);
    }
  }
  return absent;
}

std::optional<Slot> HostTier::reserve() {
  const std::lock_guard lock(mutex_);
  if (later_count_ + reserved_ >= residents_.size() / 2) return std::nullopt;
  if (free_.empty() && !evict(candidates_->next())) return std::nullopt;
  const Slot slot = free_.back();
  free_.pop_back();
  residents_[slot] = Resident{.pins = 1, .is_forgotten = true};
  ++pinned_;
  ++unwritten_;
  ++reserved_;
  return slot;
}

void HostTier::keep_for_later(Slot slot, const BlockAddress& address, const BlockHeader& header) {
  {
    const std::lock_guard lock(mutex_);
    Resident& resident = residents_[slot];
    --unwritten_;
    --reserved_;
    --pinned_;
    resident.pins = 0;
    if (find(address)) {  // somebody was faster
      free_.push_back(slot);
    } else {
      resident = Resident{.address = address, .header = header, .is_prefetched = true};
      index_[address.object][key_in_object(address)] = slot;
      candidates_->place(slot);
      track(slot, true);
    }
  }
  unpinned_.notify_all();
}

void HostTier::give_back(Slot slot) {
  {
    const std::lock_guard lock(mutex_);
    --unwritten_;
    --reserved_;
    unpin_locked(slot);
  }
  unpinned_.notify_all();
}

void HostTier::forget(Slot slot) {
  const std::lock_guard lock(mutex_);
  if (!residents_[slot].is_forgotten) forget_locked(slot);
}

void HostTier::forget(ObjectId object) {
  const std::lock_guard lock(mutex_);
  const auto found = index_.find(object);
  if (found == index_.end()) return;
  std::vector<Slot> slots;
  for (const auto& [key, slot] : found->second) slots.push_back(slot);
  for (const Slot slot : slots) forget_locked(slot);
}

HostTier::Usage HostTier::usage() const {
  const std::lock_guard lock(mutex_);
  return {.used_bytes = (residents_.size() - free_.size()) * slot_bytes_,
          .pinned_bytes = pinned_ * slot_bytes_,
          .budget_bytes = config_.budget_bytes,
          .evicted_blocks = evicted_,
          .prefetched_used = prefetched_used_,
          .prefetched_unused = prefetched_unused_};
}

std::optional<Slot> HostTier::find(const BlockAddress& address) const {
  const auto object = index_.find(address.object);
  if (object == index_.end()) return std::nullopt;
  const auto slot = object->second.find(key_in_object(address));
  if (slot == object->second.end()) return std::nullopt;
  return slot->second;
}

void HostTier::pin_locked(Slot slot) {
  if (residents_[slot].pins++ > 0) return;
  untrack(slot);
  candidates_->use(slot);
  ++pinned_;
  prefetched_used_ += std::exchange(residents_[slot].is_prefetched, false) ? 1 : 0;
}

void HostTier::unpin_locked(Slot slot) {
  CHECK(residents_[slot].pins > 0, slot);
  if (--residents_[slot].pins > 0) return;
  --pinned_;
  if (residents_[slot].is_forgotten) {
    free_.push_back(slot);
  } else {
    track(slot, false);
  }
}

void HostTier::forget_locked(Slot slot) {
  Resident& resident = residents_[slot];
  const auto object = index_.find(resident.address.object);
  object->second.erase(key_in_object(resident.address));
  if (object->second.empty()) index_.erase(object);
  resident.is_forgotten = true;
  prefetched_unused_ += resident.is_prefetched ? 1 : 0;
  if (resident.pins > 0) return;
  untrack(slot);
  free_.push_back(slot);
}

std::optional<Slot> HostTier::take_slot() {
  if (free_.empty() && !evict(candidates_->next()) && !evict(later_.front(0))) return std::nullopt;
  const Slot slot = free_.back();
  free_.pop_back();
  return slot;
}

bool HostTier::evict(std::optional<Slot> victim) {
  if (!victim) return false;
  forget_locked(*victim);
  ++evicted_;
  return true;
}

void HostTier::track(Slot slot, bool is_for_later) {
  residents_[slot].is_for_later = is_for_later;
  if (!is_for_later) return candidates_->track(slot);
  later_.push_back(0, slot);
  ++later_count_;
}

void HostTier::untrack(Slot slot) {
  if (!std::exchange(residents_[slot].is_for_later, false)) return candidates_->untrack(slot);
  later_.remove(slot);
  --later_count_;
}

}  // namespace rotulus::memory_store
