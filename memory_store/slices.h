// Objects on their way from one store to another, slice by slice: what a volume has of one layer of one stripe (its KV
// blocks, its landmarks, bounds and centroids), each block with its header as it is stored, one behind the other.
//
// A block keeps the checksum that it was first written with until it is verified at the other end; only there, under
// another object's id, it gets a new one. Host memory is neither asked nor filled.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "memory_store/manifest.h"
#include "memory_store/tier.h"
#include "memory_store/verification.h"

namespace rotulus::memory_store {

struct SliceAddress {
  VolumeId volume;
  ObjectId object;
  std::uint64_t stripe = 0;
  std::uint32_t layer = 0;
};

struct StoredSlice {
  std::vector<std::byte> bytes;
  std::uint32_t block_count = 0;         // of these
  std::uint32_t object_block_count = 0;  // that were written of the object on this volume, by its manifest
};

// What was rightly never kept and what is damaged are both left out: whether all slices of an object together are the
// whole, their block counts tell. Throws Error{storage_corrupt} where the manifest record is not the one of that hash,
// {not_found} where there is none, {unavailable} while the volume is closed. Threads: any.
StoredSlice read_slice(const Volume& volume, const SliceAddress& address, std::uint64_t manifest_hash,
                       const StoredShape& shape);

// Objects that come in slices. KV blocks are written as they come, in batches of at most kMaxWriteBatchBytes;
// landmarks and the like wait in memory until their object is committed (manifest.h says why).
//
// Threads: one at a time. Errors: what Volume says, and as below; then the object is to be erased.
class SliceWriter final {
 public:
  explicit SliceWriter(const StoredShape& shape) : shape_(shape) {}

  // How many blocks it held. Throws Error{storage_corrupt} for bytes that are not whole blocks of that stripe and layer
  // in this store's format, naming the byte.
  std::uint32_t write(Volume& volume, const SliceAddress& address, std::span<const std::byte> bytes);
  // Fills in what the record says of its blocks, and returns what is to be stored: nothing is committed yet.
  StoredManifest finish(Volume& volume, protocol::ManifestRecord& record);
  void forget(ObjectId object);

 private:
  struct Waiting {
    BlockAddress address;
    BlockHeader header;
    std::vector<std::byte> payload;
  };
  struct Part {                                      // of an object, on one volume
    std::map<std::string, std::uint64_t> checksums;  // by key
    std::vector<Waiting> landmarks;
  };

  const StoredShape shape_;
  std::map<ObjectId, std::map<VolumeId, Part>> objects_;
};

}  // namespace rotulus::memory_store
