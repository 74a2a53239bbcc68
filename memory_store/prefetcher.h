// Blocks on their way into host memory before anyone has asked for them, read by the store's reader threads while
// they have nothing else to do.
//
// It may be wrong about what will be wanted: nothing but time depends on it. What it reads is verified as every block
// is, and is in nobody's way (host_tier.h says how); what cannot be read is left to whoever asks for it, and fails
// there.
//
// Invariants:
//   1. At most one block for each reader thread is under way.
//   2. After stop() none is, and none begins, until the next want().
//
// Threads: want() and stop() from one (the engine's), read_next() from any.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <span>
#include <vector>

#include "memory_store/kv_block.h"
#include "memory_store/tiers/host/host_tier.h"

namespace rotulus::memory_store {

class Prefetcher final {
 public:
  // Fills bytes and header of a slot with a block from its volume; whether it was whole.
  using ReadBlock = std::function<bool(const BlockAddress&, std::span<std::byte> payload, BlockHeader&)>;
  Prefetcher(HostTier& tier, std::size_t payload_bytes, ReadBlock read);

  // These, in this order, in place of what was wanted before. Those that are there are kept, the others read as far as
  // there is room. Whether there is anything to read.
  bool want(std::span<const BlockAddress> addresses);
  // Drops what is not begun, and waits for what is.
  void stop();
  // Reads one of them; false if there is none.
  bool read_next();

 private:
  void read(const BlockAddress& address);

  HostTier& tier_;
  const std::size_t payload_bytes_;
  const ReadBlock read_;
  std::mutex mutex_;
  std::condition_variable finished_;
  std::deque<BlockAddress> waiting_;
  std::size_t under_way_ = 0;
};

}  // namespace rotulus::memory_store
