// One block as it is stored and as it travels: a header of 64 bytes, then the payload in the layout of kv_format.h.
//
// The header carries the block's identity and a checksum over header and payload, so a block that is damaged, cut, or
// lies in another's place is known before it is used. Little-endian, written as it lies in memory.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <type_traits>

#include "kernels/kv_format.h"
#include "protocol/ids.h"

namespace rotulus::memory_store {

using protocol::ObjectId;
using protocol::VolumeId;

// One layer of one block of one object, and the volume on which it lies (or will). Object, layer and block are the
// block's identity; the volume only says where to look for it.
struct BlockAddress {
  ObjectId object;
  std::uint32_t layer = 0;
  std::uint32_t block = 0;  // index in the context
  VolumeId volume;
  auto operator<=>(const BlockAddress&) const = default;
};

std::string to_string(const BlockAddress& address);

inline constexpr std::uint32_t kBlockMagic = 0x424B5652;  // "RVKB"
inline constexpr std::uint16_t kBlockFormatVersion = 1;

struct BlockHeader {
  std::uint32_t magic = 0;
  std::uint16_t format_version = 0;
  std::uint8_t kv_type = 0;  // kernels::KvType
  std::uint8_t reserved_byte = 0;
  std::uint64_t object = 0;
  std::uint32_t layer = 0;
  std::uint32_t block = 0;
  std::uint32_t kv_heads = 0;
  std::uint32_t head_dim = 0;
  std::uint64_t payload_bytes = 0;
  std::uint64_t reserved_words[2] = {0, 0};
  std::uint64_t checksum = 0;  // XXH3-64 of the 56 bytes before it, then of the payload
};
static_assert(sizeof(BlockHeader) == 64 && std::is_trivially_copyable_v<BlockHeader>);  // it is written as it is
static_assert(offsetof(BlockHeader, checksum) == 56);
static_assert(std::endian::native == std::endian::little);

BlockHeader make_block_header(const BlockAddress& address, const kernels::KvFormat& format,
                              std::span<const std::byte> payload);

// Why these bytes are not the block `address` in `format`; nothing if they are.
std::optional<std::string> find_damage(const BlockHeader& header, std::span<const std::byte> payload,
                                       const BlockAddress& address, const kernels::KvFormat& format);

}  // namespace rotulus::memory_store
