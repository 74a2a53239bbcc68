#include "memory_store/prefetcher.h"

#include <utility>

namespace rotulus::memory_store {

Prefetcher::Prefetcher(HostTier& tier, std::size_t payload_bytes, ReadBlock read)
    : tier_(tier), payload_bytes_(payload_bytes), read_(std::move(read)) {}

bool Prefetcher::want(std::span<const BlockAddress> addresses) {
  stop();
  const std::vector<BlockAddress> absent = tier_.keep_for_later(addresses);
  const std::lock_guard lock(mutex_);
  waiting_.assign(absent.begin(), absent.end());
  return !waiting_.empty();
}

void Prefetcher::stop() {
  std::unique_lock lock(mutex_);
  waiting_.clear();
  finished_.wait(lock, [&] { return under_way_ == 0; });
}

bool Prefetcher::read_next() {
  std::unique_lock lock(mutex_);
  if (waiting_.empty()) return false;
  const BlockAddress address = waiting_.front();
  waiting_.pop_front();
  ++under_way_;
  lock.unlock();
  read(address);
  lock.lock();
  if (--under_way_ == 0) finished_.notify_one();
  return true;
}

void Prefetcher::read(const BlockAddress& address) {
  const std::optional<Slot> slot = tier_.reserve();
  if (!slot) return;  // all that is there is in use, or wanted too
  BlockHeader header;
  if (read_(address, {tier_.bytes(*slot), payload_bytes_}, header)) {
    tier_.keep_for_later(*slot, address, header);
  } else {
    tier_.give_back(*slot);
  }
}

}  // namespace rotulus::memory_store
