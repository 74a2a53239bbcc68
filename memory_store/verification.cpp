#include "memory_store/verification.h"

#include <algorithm>
#include <vector>

#include "memory_store/manifest.h"
#include "protocol/lanes.h"
#include "protocol/token_range.h"

namespace rotulus::memory_store {
namespace {

// Every address under which the object may have something on this volume, in the order of their keys.
std::vector<BlockAddress> possible_addresses(const protocol::ManifestRecord& record, const StoredShape& shape) {
  const auto lies_here = [&](std::uint64_t block) {
    return protocol::volume_of_lane(record.placement, protocol::lane_of_block(block)) == record.volume;
  };
  const auto first = static_cast<std::uint32_t>(record.range.begin / protocol::kBlockTokens);
  const auto end = static_cast<std::uint32_t>(protocol::block_count(record.range.end));
  std::vector<BlockAddress> addresses;
  for (std::uint32_t block = first; block < end; ++block) {
    if (!lies_here(block)) continue;
    for (std::uint32_t layer = 0; layer < shape.layers; ++layer) {
      addresses.push_back({record.object, layer, block, record.volume, BlockKind::kv});
    }
  }
  for (const BlockKind kind : kStripeKinds) {
    if (shape.format.payload_bytes(kind) == 0) continue;
    for (std::uint32_t layer = 0; layer < shape.layers; ++layer) {
      for (std::uint32_t block = first; block < end; block += protocol::kBlocksPerStripe) {
        if (lies_here(block)) addresses.push_back({record.object, layer, block, record.volume, kind});
      }
    }
  }
  return addresses;
}

}  // namespace

Verification verify_object(const Volume& volume, const StoredObject& stored, const StoredShape& shape) {
  const auto value = volume.manifest(stored.object);
  const auto manifest = value ? read_manifest(*value, stored.object, stored.volume) : std::nullopt;
  if (!manifest || manifest->hash != stored.manifest_hash) return {.blocks_damaged = 1};

  Verification seen;
  BlocksHash hash;
  std::vector<std::byte> payload;
  for (const BlockAddress& address : possible_addresses(manifest->record, shape)) {
    BlockHeader header;
    payload.resize(shape.format.payload_bytes(address.kind));
    // What was discarded, or never kept, is rightly absent: whether all that was written is there, its number tells.
    if (volume.read(address, header, payload) || find_damage(header, payload, address, shape.format)) continue;
    hash.add(block_key(address), header.checksum);
    ++seen.blocks_verified;
  }
  const std::uint64_t written = manifest->record.block_count;
  seen.blocks_damaged = written - std::min(written, seen.blocks_verified);
  if (seen.blocks_damaged == 0 && hash.value() != manifest->record.blocks_hash) seen.blocks_damaged = 1;
  return seen;
}

}  // namespace rotulus::memory_store
