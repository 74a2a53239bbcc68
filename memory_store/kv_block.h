// One block as it is stored and as it travels: a header of 64 bytes, then the payload.
//
// There are four kinds. A KV block is one layer of 128 tokens, in the layout of kv_format.h. A block of landmarks, of
// bounds or of centroids is one layer of a stripe (four blocks); what it holds is not known here, only how many bytes.
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

enum class BlockKind : std::uint8_t { kv = 0, landmarks = 1, bounds = 2, centroids = 3 };
inline constexpr BlockKind kStripeKinds[] = {BlockKind::landmarks, BlockKind::bounds, BlockKind::centroids};

// One layer of one block, or of the landmarks, bounds or centroids of one stripe, of one object, and the volume on
// which it lies (or will). Kind, object, layer and block are its identity; the volume only says where to look for it.
struct BlockAddress {
  ObjectId object;
  std::uint32_t layer = 0;
  std::uint32_t block = 0;  // index in the context; of all but KV the stripe's first
  VolumeId volume;
  BlockKind kind = BlockKind::kv;
  auto operator<=>(const BlockAddress&) const = default;
};

std::string to_string(const BlockAddress& address);

// What the blocks of one store look like.
struct BlockFormat {
  kernels::KvFormat kv;
  std::size_t landmark_bytes = 0;  // 0: there are no landmarks
  std::size_t bounds_bytes = 0;    // 0: there are no bounds
  std::size_t centroid_bytes = 0;  // 0: there are no centroids
  std::size_t payload_bytes(BlockKind kind) const;
};

inline constexpr std::uint32_t kBlockMagic = 0x424B5652;  // "RVKB"
inline constexpr std::uint16_t kBlockFormatVersion = 1;
inline constexpr std::uint16_t kLandmarkFormatVersion = 1;
inline constexpr std::uint16_t kBoundsFormatVersion = 1;
inline constexpr std::uint16_t kCentroidsFormatVersion = 1;

struct BlockHeader {
  std::uint32_t magic = 0;
  std::uint16_t format_version = 0;  // of its kind
  std::uint8_t kv_type = 0;          // kernels::KvType
  std::uint8_t kind = 0;             // BlockKind
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

BlockHeader make_block_header(const BlockAddress& address, const BlockFormat& format,
                              std::span<const std::byte> payload);

// Why these bytes are not the block `address` in `format`; nothing if they are.
std::optional<std::string> find_damage(const BlockHeader& header, std::span<const std::byte> payload,
                                       const BlockAddress& address, const BlockFormat& format);

}  // namespace rotulus::memory_store
