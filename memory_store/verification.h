// What lies on a volume, compared with what was written there: the manifest record with the hash that the catalogue
// names, and every block with its checksum, its identity and its place in the manifest's hash of all blocks.
#pragma once

#include <cstdint>

#include "memory_store/kv_block.h"
#include "memory_store/tier.h"

namespace rotulus::memory_store {

struct Verification {
  std::uint64_t blocks_verified = 0;  // as they were written
  std::uint64_t blocks_damaged = 0;   // absent, or not as they were written; a damaged manifest record counts as one
  bool operator==(const Verification&) const = default;
};

struct StoredObject {
  VolumeId volume;
  ObjectId object;
  std::uint64_t manifest_hash = 0;
};

struct StoredShape {
  BlockFormat format;
  std::uint32_t layers = 0;
};

// Reads all of it, one block at a time. Throws Error{unavailable} while the volume is closed. Threads: any.
Verification verify_object(const Volume& volume, const StoredObject& stored, const StoredShape& shape);

}  // namespace rotulus::memory_store
