#include "memory_store/kv_block.h"

#include <fmt/format.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <cstring>

#include "kernels/landmarks.h"

namespace rotulus::memory_store {

static_assert(kLandmarkFormatVersion == kernels::kLandmarkVersion);  // what they hold is the kernels' business
static_assert(kBoundsFormatVersion == kernels::kBoundsVersion);
static_assert(kCentroidsFormatVersion == kernels::kCentroidsVersion);

namespace {

std::uint64_t checksum_of(const BlockHeader& header, std::span<const std::byte> payload) {
  // The header's hash seeds the payload's: one pass over each, no copy, and neither can be exchanged alone.
  const std::uint64_t seed = XXH3_64bits(&header, offsetof(BlockHeader, checksum));
  return XXH3_64bits_withSeed(payload.data(), payload.size(), seed);
}

std::uint16_t version_of(BlockKind kind) {
  switch (kind) {
    case BlockKind::kv:
      return kBlockFormatVersion;
    case BlockKind::landmarks:
      return kLandmarkFormatVersion;
    case BlockKind::bounds:
      return kBoundsFormatVersion;
    case BlockKind::centroids:
      break;
  }
  return kCentroidsFormatVersion;
}

const char* name_of(BlockKind kind) {
  switch (kind) {
    case BlockKind::kv:
      return "block";
    case BlockKind::landmarks:
      return "landmarks from block";
    case BlockKind::bounds:
      return "bounds from block";
    case BlockKind::centroids:
      return "centroids from block";
  }
  return "what is of no kind, from block";
}

}  // namespace

std::size_t BlockFormat::payload_bytes(BlockKind kind) const {
  switch (kind) {
    case BlockKind::kv:
      return kv.block_bytes();
    case BlockKind::landmarks:
      return landmark_bytes;
    case BlockKind::bounds:
      return bounds_bytes;
    case BlockKind::centroids:
      break;
  }
  return centroid_bytes;
}

std::string to_string(const BlockAddress& address) {
  return fmt::format("{} {} of object {}, layer {}, volume {}", name_of(address.kind), address.block, address.object,
                     address.layer, address.volume);
}

BlockHeader make_block_header(const BlockAddress& address, const BlockFormat& format,
                              std::span<const std::byte> payload) {
  BlockHeader header;
  header.magic = kBlockMagic;
  header.format_version = version_of(address.kind);
  header.kv_type = static_cast<std::uint8_t>(format.kv.type);
  header.kind = static_cast<std::uint8_t>(address.kind);
  header.object = address.object.value;
  header.layer = address.layer;
  header.block = address.block;
  header.kv_heads = format.kv.kv_heads;
  header.head_dim = format.kv.head_dim;
  header.payload_bytes = payload.size();
  header.checksum = checksum_of(header, payload);
  return header;
}

std::optional<std::string> find_damage(const BlockHeader& header, std::span<const std::byte> payload,
                                       const BlockAddress& address, const BlockFormat& format) {
  if (header.magic != kBlockMagic) return fmt::format("magic {:08x} is not a block's", header.magic);
  const std::uint64_t checksum = checksum_of(header, payload);
  if (checksum != header.checksum) {
    return fmt::format("checksum {:016x} of the bytes read, {:016x} was written", checksum, header.checksum);
  }
  if (header.object != address.object.value || header.layer != address.layer || header.block != address.block ||
      header.kind != static_cast<std::uint8_t>(address.kind)) {
    return fmt::format("carries the identity of {} {} of object {:016x}, layer {}",
                       name_of(static_cast<BlockKind>(header.kind)), header.block, header.object, header.layer);
  }
  if (header.format_version != version_of(address.kind)) {
    return fmt::format("format version {}, this program reads {}", header.format_version, version_of(address.kind));
  }
  const std::size_t payload_bytes = format.payload_bytes(address.kind);
  if (header.kv_type != static_cast<std::uint8_t>(format.kv.type) || header.kv_heads != format.kv.kv_heads ||
      header.head_dim != format.kv.head_dim || header.payload_bytes != payload.size() ||
      payload.size() != payload_bytes) {
    return fmt::format(
        "holds {} bytes of kv type {}, {} heads of {}; this model has {} bytes of type {}, {} heads of {}",
        header.payload_bytes, header.kv_type, header.kv_heads, header.head_dim, payload_bytes,
        static_cast<int>(format.kv.type), format.kv.kv_heads, format.kv.head_dim);
  }
  return std::nullopt;
}

}  // namespace rotulus::memory_store
