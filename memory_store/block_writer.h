// Objects on their way to a volume: blocks are filled in host memory, sealed, and written by a thread in the
// background.
//
// Invariants:
//   1. A block keeps a pin in host memory from its first byte until it is on its volume, or its object has failed.
//   2. Blocks of one volume are written in the order in which they were sealed, in batches of <= kMaxWriteBatchBytes.
//   3. A failed object stays failed: every later call for it throws what it failed with, until it is abandoned.
//
// Threads: fail(), failure(), blocks_written() from any; the watch from one; the others from one (the engine's).
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <span>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "memory_store/manifest.h"
#include "memory_store/tiers/host/host_tier.h"
#include "memory_store/volume_set.h"
#include "protocol/error.h"

namespace rotulus::memory_store {

class BlockWriter final {
 public:
  BlockWriter(HostTier& host, const VolumeSet& volumes, const kernels::KvFormat& format,
              std::chrono::milliseconds write_timeout);
  ~BlockWriter();  // what is not written stays unwritten

  std::byte* block_for_writing(const BlockAddress& address);
  void seal(const BlockAddress& address);
  // Seals what is left of the object's part on one volume, and waits until all of it is written. Its hash.
  BlocksHash finish(ObjectId object, VolumeId volume);
  // The part is committed: it is an object like any other now.
  void close(ObjectId object, VolumeId volume);
  // Forgets the object; what was written of it is erased by the thread, where volumes may be erased from.
  void abandon(ObjectId object);

  // Nothing more of the object will be written: it was erased under the writer's feet.
  void fail(ObjectId object, const protocol::Error& error);
  // What the object failed with, if it did.
  std::optional<protocol::Error> failure(ObjectId object) const;
  // The objects that were being written at any time between the two.
  void begin_watch();
  std::vector<ObjectId> end_watch();
  std::uint64_t blocks_written() const;

 private:
  struct FilledBlock {
    std::optional<Slot> open_slot;  // until it is sealed
    std::uint64_t checksum = 0;
  };
  using BlockKey = std::pair<std::uint32_t, std::uint32_t>;  // block, layer: the order of keys on the volume
  struct Part {
    std::map<BlockKey, FilledBlock> blocks;
    std::size_t unwritten = 0;  // sealed, not yet on the volume
  };
  struct WritingObject {
    std::map<VolumeId, Part> parts;
    std::optional<protocol::Error> failure;
  };
  struct SealedBlock {
    BlockAddress address;
    Slot slot = 0;
  };

  void run();
  std::vector<SealedBlock> take_batch();
  void write_batch(std::span<const SealedBlock> batch);
  void erase_abandoned(ObjectId object);
  void finish_batch(std::span<const SealedBlock> batch, const std::optional<protocol::Error>& error);
  void seal_locked(const BlockAddress& address, Part& part, FilledBlock& block);
  void discard_queued(ObjectId object);
  WritingObject& find_object(ObjectId object);

  HostTier& host_;
  const VolumeSet& volumes_;
  const kernels::KvFormat format_;
  const std::chrono::milliseconds write_timeout_;
  const std::size_t batch_blocks_;

  mutable std::mutex mutex_;
  std::condition_variable work_;      // for the thread
  std::condition_variable progress_;  // for those who wait for it
  std::unordered_map<ObjectId, WritingObject> objects_;
  std::map<VolumeId, std::deque<SealedBlock>> queues_;
  std::deque<ObjectId> abandoned_;
  std::optional<std::vector<ObjectId>> watched_;
  std::uint64_t blocks_written_ = 0;
  bool is_stopping_ = false;
  std::thread thread_;  // last: it uses all of the above
};

}  // namespace rotulus::memory_store
