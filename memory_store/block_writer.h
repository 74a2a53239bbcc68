// Objects on their way to a volume: blocks are filled in host memory, sealed, and written by a thread in the
// background.
//
// Invariants:
//   1. A block keeps a pin in host memory from its first byte until it is on its volume, or its object has failed.
//   2. KV blocks of one volume are written in the order in which they were sealed, kMaxWriteBatchBytes at most at once.
//      Landmarks and bounds wait for their object to be finished, or until host memory wants their place: see
//      manifest.h for why.
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
#include <string>
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
  BlockWriter(HostTiers& host, const VolumeSet& volumes, const BlockFormat& format,
              std::chrono::milliseconds write_timeout);
  ~BlockWriter();  // what is not written stays unwritten

  // HostTier::place(), but landmarks that wait are written first where they stand in the way.
  Slot place(const BlockAddress& address);
  std::byte* block_for_writing(const BlockAddress& address);
  void seal(const BlockAddress& address);
  void discard(const BlockAddress& address);
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
  struct SealedBlock {
    BlockAddress address;
    Slot slot = 0;
  };
  struct FilledBlock {
    BlockAddress address;
    std::optional<Slot> open_slot;  // until it is sealed
    std::uint64_t checksum = 0;
  };
  struct Part {
    std::map<std::string, FilledBlock> blocks;  // by their keys on the volume
    std::vector<SealedBlock> waiting_landmarks;
    std::size_t unwritten = 0;  // in the volume's queue or on their way
  };
  struct WritingObject {
    std::map<VolumeId, Part> parts;
    std::optional<protocol::Error> failure;
  };

  void run();
  std::vector<SealedBlock> take_batch();
  void write_batch(std::span<const SealedBlock> batch);
  void erase_abandoned(ObjectId object);
  void finish_batch(std::span<const SealedBlock> batch, const std::optional<protocol::Error>& error);
  void seal_locked(Part& part, FilledBlock& block);
  void enqueue(Part& part, const SealedBlock& sealed);
  void enqueue_landmarks(Part& part);
  void discard_unwritten(ObjectId object);
  WritingObject& find_object(ObjectId object);

  HostTiers& host_;
  const VolumeSet& volumes_;
  const BlockFormat format_;
  const std::chrono::milliseconds write_timeout_;

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
