// START HERE. Where the KV of contexts and their landmarks live on one rank: host memory under byte budgets, and
// volumes (RocksDB) on disk. Knows no request and no scheduler, and not what landmarks hold.
//
// A chunk of a context is written as an *object*: its blocks are filled in host memory, sealed when full, written to a
// volume under the object's id in the background, and made durable by commit(): one synced manifest record per volume.
// Until then nothing of it is visible; an id is never used again. Committed blocks may be evicted from host memory and
// are read back, checksum and identity verified, when they are pinned.
//
// Invariants:
//   1. Host memory in blocks never exceeds the budget of their kind. Pinned, unsealed and not yet written blocks cannot
//      be evicted; what cannot fit beside them is Error{out_of_memory} with the numbers.
//   2. A block that fails its checksum or carries another identity is never handed out: Error{storage_corrupt}.
//   3. commit() returns only when the blocks and the manifest record of that volume are synced.
//   4. Nothing is erased on a volume before reconcile() has accepted the catalogue for it.
//
// Threads: one thread calls (the rank's engine); reconcile, manifests, erase, write_slice, commit_slices, volumes
// and stats may be called by one other thread at the same time, verify and read_slice by any. Background threads are
// the store's own.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "kernels/kv_format.h"
#include "memory_store/eviction.h"
#include "memory_store/kv_block.h"
#include "memory_store/slices.h"
#include "memory_store/verification.h"
#include "protocol/ids.h"
#include "protocol/limits.h"
#include "protocol/messages.h"

namespace rotulus::memory_store {

struct KvStoreConfig {
  std::vector<std::filesystem::path> volume_paths;  // each opened, or made where it does not exist
  std::uint32_t layers = 0;
  kernels::KvFormat format;
  std::size_t landmark_bytes = 0;         // of one layer of one stripe; 0: the store keeps no landmarks
  std::size_t bounds_bytes = 0;           // likewise
  std::size_t centroid_bytes = 0;         // likewise
  std::size_t host_budget_bytes = 0;      // for KV
  std::size_t landmark_budget_bytes = 0;  // for them, beside it
  Eviction eviction = Eviction::frequent;
  std::size_t reader_threads = 2;
  std::filesystem::path access_trace;  // where to write which KV blocks are pinned (access_trace.h); "": nowhere
  std::size_t max_volume_bytes = 0;    // 0: as much as the disk has; a commit beyond it is storage_full
  std::chrono::milliseconds lock_timeout = protocol::kVolumeLockTimeout;
  std::chrono::milliseconds write_timeout = protocol::kVolumeWriteTimeout;
};

// Keeps blocks in host memory; addresses are valid while it lives. Movable. Must not outlive the store.
class PinnedBlocks final {
 public:
  PinnedBlocks();
  ~PinnedBlocks();
  PinnedBlocks(PinnedBlocks&&) noexcept;
  PinnedBlocks& operator=(PinnedBlocks&&) noexcept;
  std::size_t size() const;
  const std::byte* operator[](std::size_t index) const;  // a payload of the kind, in the order asked for

 private:
  friend class KvStore;
  struct State;
  std::unique_ptr<State> state_;
};

struct ReconcileResult {
  std::vector<ObjectId> damaged;  // live in the catalogue, but absent here or with another manifest
  std::uint64_t collected_objects = 0;
};

class KvStore final {
 public:
  // A volume that does not open is left out and listed in failed_volumes(); waits a while for a lock that another
  // process holds (an earlier life of this rank), and names the holder if it stays.
  static std::unique_ptr<KvStore> open(const KvStoreConfig& config);
  ~KvStore();

  std::vector<protocol::VolumeState> volumes() const;
  const std::vector<protocol::VolumeFailure>& failed_volumes() const;
  bool holds(VolumeId volume) const;

  // -- writing ------------------------------------------------------------------------------------------------

  // The memory of a block of any kind that is being filled: zeroed when first asked for, unsealed from then on. May
  // wait for the background writer to make room. Throws what the object failed with, if writing it failed in the
  // background; {out_of_memory} with the numbers if there is no room.
  std::byte* block_for_writing(const BlockAddress& address);
  // The block is complete, or the chunk ends in it: it will not be written to again.
  void seal(const BlockAddress& address);
  // The block, not sealed yet, will be no part of its object: what was filled is forgotten. Unknown blocks are fine.
  void discard(const BlockAddress& address);
  // Seals and writes what is left of the object, then the manifest record (object, volume, range … filled in by the
  // caller; block_count and blocks_hash by the store). Returns the record's hash.
  // Throws Error{storage_full}, {storage_corrupt} or {unavailable}; the object is then dead, and to be abandoned.
  std::uint64_t commit(protocol::ManifestRecord record, std::uint64_t catalogue_sequence);
  // Forgets an object that will not be committed, and erases what was written of it. Unknown objects are fine.
  void abandon(ObjectId object);

  // -- reading ------------------------------------------------------------------------------------------------

  // Loads what is not resident, by several threads; all of one kind. Works on blocks being written too (as far as they
  // are filled).
  // Throws Error{storage_corrupt} (see last_damage), {unavailable} if a block is on a volume not held and not resident,
  // {out_of_memory} if the pinned set does not fit, {not_found} if the object was erased.
  PinnedBlocks pin(std::span<const BlockAddress> addresses);
  // KV blocks that will probably be pinned next, in place of those that were named before; none: nothing is. The reader
  // threads bring them into host memory, as far as that is in nobody's way. Nothing but time depends on it.
  void prefetch(std::span<const BlockAddress> addresses);
  struct Damage {
    BlockAddress address;
    std::string message;
  };
  const Damage& last_damage() const;  // of the last storage_corrupt thrown to this thread

  // Those not resident and on a volume that is not held: to be fetched from the rank that holds it.
  std::vector<BlockAddress> missing(std::span<const BlockAddress> addresses) const;
  // Those that are resident, so that they stay until all are.
  PinnedBlocks pin_resident(std::span<const BlockAddress> addresses);
  // A block with its header, verified, for another rank; and the other end of that. A block that is not sealed yet is
  // {unavailable}.
  std::vector<std::byte> read(const BlockAddress& address);
  PinnedBlocks insert(const BlockAddress& address, std::span<const std::byte> bytes);
  std::size_t wire_bytes(BlockKind kind) const;  // of one block as read() returns it

  // -- keeping ------------------------------------------------------------------------------------------------

  // Throws Error{conflict} and touches nothing if the volume belongs to another store or saw a later sequence.
  ReconcileResult reconcile(VolumeId volume, protocol::StoreId store, std::uint64_t catalogue_sequence,
                            std::span<const protocol::ReconcileVolume::Live> live);
  // What a volume has of an object, read from the disk block by block and compared with what was written; host memory
  // is neither asked nor filled. From any thread. Throws Error{unavailable} if the volume is not held or closed.
  Verification verify(VolumeId volume, ObjectId object, std::uint64_t manifest_hash) const;
  // For another store: what a volume has of one layer of a stripe, from the disk. From any thread; throws as slices.h
  // says, {unavailable} if the volume is not held.
  StoredSlice read_slice(const SliceAddress& address, std::uint64_t manifest_hash) const;
  // And from another store, under a fresh object: how many blocks the slice had.
  std::uint32_t write_slice(const SliceAddress& address, std::span<const std::byte> bytes);
  // The object that was written in slices is complete on record.volume: as commit(). What it says of its blocks is
  // filled in. A slice or commit that throws leaves an object to be erased.
  std::uint64_t commit_slices(protocol::ManifestRecord& record, std::uint64_t catalogue_sequence);
  // Every readable manifest record of a volume with its hash.
  std::vector<std::pair<protocol::ManifestRecord, std::uint64_t>> manifests(VolumeId volume) const;
  // Erases objects from all volumes that were reconciled and from host memory, and gives the bytes back to the disk.
  // An object that is being written fails.
  void erase(std::span<const ObjectId> objects, std::uint64_t catalogue_sequence);

  struct Stats {
    std::uint64_t host_bytes_used = 0;  // by KV
    std::uint64_t host_bytes_pinned = 0;
    std::uint64_t host_bytes_budget = 0;
    std::uint64_t landmark_bytes_used = 0;  // of host memory, beside KV; with bounds
    std::uint64_t landmark_bytes_pinned = 0;
    std::uint64_t landmark_bytes_budget = 0;
    std::uint64_t disk_bytes_used = 0;
    std::uint64_t blocks_loaded = 0;  // of all kinds, as all below
    std::uint64_t blocks_verified = 0;
    std::uint64_t blocks_corrupt = 0;
    std::uint64_t blocks_evicted = 0;
    std::uint64_t blocks_written = 0;
    std::uint64_t prefetched_used = 0;    // read because prefetch() named them, and then asked for
    std::uint64_t prefetched_unused = 0;  // left host memory without
  };
  Stats stats() const;

 private:
  struct State;
  explicit KvStore(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace rotulus::memory_store
