// What a volume holds under which key, and the manifest value. The same in every tier that is made of keys and values.
//
//   object u64 | 1 | block u32 | layer u16     BlockHeader, payload
//   object u64 | 2                             manifest
//   object u64 | 3 | layer u16 | block u32     BlockHeader, landmarks of the stripe that begins with the block
//   object u64 | 4 | layer u16 | block u32     BlockHeader, bounds likewise; 5: centroids
//
// Numbers are big-endian, so keys sort as the numbers do. All that belongs to an object shares its first 8 bytes: it is
// found and erased as one range. KV blocks are written as they fill, the others when their object is finished, the
// manifest at once behind them; so what is written later mostly sorts later: the files of an object then hardly
// overlap, and compaction moves them unread. The landmarks of an object are one range, and in it those of a layer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "memory_store/kv_block.h"
#include "protocol/messages.h"

namespace rotulus::memory_store {

inline constexpr std::size_t kObjectPrefixBytes = 8;
inline constexpr std::size_t kBlockKeyBytes = 15;

std::string block_key(const BlockAddress& address);
std::string manifest_key(ObjectId object);
// Not above any key of the object; the keys below object_begin(next) are its.
std::string object_begin(ObjectId object);
ObjectId object_of_key(std::string_view key);

// The hash over (key, checksum) of blocks, given in key order, that a manifest carries.
class BlocksHash final {
 public:
  void add(const std::string& key, std::uint64_t checksum);
  std::uint32_t count() const { return count_; }
  std::uint64_t value() const;

 private:
  std::string bytes_;
  std::uint32_t count_ = 0;
};

// The stored value: magic u32, version u32, XXH3-64 of the record, the record as codec.h encodes it.
struct StoredManifest {
  std::vector<std::byte> value;
  std::uint64_t hash = 0;  // of the record; what the catalogue names
};
StoredManifest store_manifest(const protocol::ManifestRecord& record);

struct ReadManifest {
  protocol::ManifestRecord record;
  std::uint64_t hash = 0;
};
// Nothing where the bytes are damaged, or are the manifest of another object or volume.
std::optional<ReadManifest> read_manifest(std::span<const std::byte> value, ObjectId object, VolumeId volume);

}  // namespace rotulus::memory_store
