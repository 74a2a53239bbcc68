#include "memory_store/kv_block.h"

#include <fmt/format.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <cstring>

namespace rotulus::memory_store {
namespace {

std::uint64_t checksum_of(const BlockHeader& header, std::span<const std::byte> payload) {
  // The header's hash seeds the payload's: one pass over each, no copy, and neither can be exchanged alone.
  const std::uint64_t seed = XXH3_64bits(&header, offsetof(BlockHeader, checksum));
  return XXH3_64bits_withSeed(payload.data(), payload.size(), seed);
}

}  // namespace

std::string to_string(const BlockAddress& address) {
  return fmt::format("block {} of object {}, layer {}, volume {}", address.block, address.object, address.layer,
                     address.volume);
}

BlockHeader make_block_header(const BlockAddress& address, const kernels::KvFormat& format,
                              std::span<const std::byte> payload) {
  BlockHeader header;
  header.magic = kBlockMagic;
  header.format_version = kBlockFormatVersion;
  header.kv_type = static_cast<std::uint8_t>(format.type);
  header.object = address.object.value;
  header.layer = address.layer;
  header.block = address.block;
  header.kv_heads = format.kv_heads;
  header.head_dim = format.head_dim;
  header.payload_bytes = payload.size();
  header.checksum = checksum_of(header, payload);
  return header;
}

std::optional<std::string> find_damage(const BlockHeader& header, std::span<const std::byte> payload,
                                       const BlockAddress& address, const kernels::KvFormat& format) {
  if (header.magic != kBlockMagic) return fmt::format("magic {:08x} is not a block's", header.magic);
  const std::uint64_t checksum = checksum_of(header, payload);
  if (checksum != header.checksum) {
    return fmt::format("checksum {:016x} of the bytes read, {:016x} was written", checksum, header.checksum);
  }
  if (header.format_version != kBlockFormatVersion) {
    return fmt::format("format version {}, this program reads {}", header.format_version, kBlockFormatVersion);
  }
  if (header.object != address.object.value || header.layer != address.layer || header.block != address.block) {
    return fmt::format("carries the identity of block {} of object {:016x}, layer {}", header.block, header.object,
                       header.layer);
  }
  if (header.kv_type != static_cast<std::uint8_t>(format.type) || header.kv_heads != format.kv_heads ||
      header.head_dim != format.head_dim || header.payload_bytes != payload.size() ||
      payload.size() != format.block_bytes()) {
    return fmt::format(
        "holds {} bytes of kv type {}, {} heads of {}; this model has {} bytes of type {}, {} heads of {}",
        header.payload_bytes, header.kv_type, header.kv_heads, header.head_dim, format.block_bytes(),
        static_cast<int>(format.type), format.kv_heads, format.head_dim);
  }
  return std::nullopt;
}

}  // namespace rotulus::memory_store
