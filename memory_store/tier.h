// A durable tier: one volume, whatever it is made of. The seam between the store and tiers/rocksdb, and where a test
// puts a volume that fails.
//
// A volume holds objects. An object is some blocks, and a manifest once it is committed; its id is never used again.
//
// Threads: any, at any time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "memory_store/kv_block.h"
#include "protocol/messages.h"

namespace rotulus::memory_store {

class Volume {
 public:
  struct Block {
    BlockAddress address;
    BlockHeader header;
    std::span<const std::byte> payload;
  };

  virtual ~Volume() = default;

  virtual protocol::VolumeState state() const = 0;

  // One batch of at most kMaxWriteBatchBytes, all of it or nothing, not synced. Throws Error{storage_full},
  // {storage_corrupt} (what is there cannot be worked with) or {unavailable}; the volume tries to mend itself before
  // the next write.
  virtual void write(std::span<const Block> blocks) = 0;
  // Synced, with all blocks written before. Remembers the catalogue's sequence. Throws as write() does.
  virtual void commit(ObjectId object, std::span<const std::byte> manifest, std::uint64_t catalogue_sequence) = 0;

  // Fills header and payload, as they were written or damaged: the caller verifies. Says why it could not; nothing if
  // it could. Throws Error{unavailable} while the volume is closed.
  virtual std::optional<std::string> read(const BlockAddress& address, BlockHeader& header,
                                          std::span<std::byte> payload) const = 0;
  // Nothing where it is absent or cannot be read.
  virtual std::optional<std::vector<std::byte>> manifest(ObjectId object) const = 0;
  // All of which something may be here, ascending.
  virtual std::vector<ObjectId> objects() const = 0;
  // Whether anything of it is here, or it cannot be told.
  virtual bool contains(ObjectId object) const = 0;

  // Returns when the objects are gone, after a crash too, and their bytes given back. Each goes whole.
  virtual void erase(std::span<const ObjectId> objects) = 0;
  // Whom the volume belongs to and the last sequence it saw (it never falls), synced.
  virtual void remember(protocol::StoreId store, std::uint64_t catalogue_sequence) = 0;
};

}  // namespace rotulus::memory_store
