// The stored form of keys and values: what memory, disk and every reader see. Attention reads nothing else.
//
// One block is 128 tokens of one layer, all KV heads:
//
//   keys    [kv_heads][2 panels][head_dim][64 tokens]    transposed, so that no reader re-lays them
//   values  [kv_heads][128 tokens][head_dim]
//
// The element is f16 (round to nearest even) or f32. The stored form of a token is a function of that token alone.
// Keys are stored rotated at their true document position. Rows of a block that are not in use are zero.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace rotulus::kernels {

enum class KvType : std::uint8_t { f16 = 0, f32 = 1 };

inline constexpr std::size_t kKvElementAlignment = 64;
inline constexpr std::uint32_t kBlockTokens = 128;
inline constexpr std::uint32_t kPanelTokens = 64;
inline constexpr std::uint32_t kStripeTokens = 512;
inline constexpr std::uint32_t kPageTokens = 16;
inline constexpr std::uint32_t kBlockPages = kBlockTokens / kPageTokens;
inline constexpr std::uint32_t kMaxHeadDim = 256;

std::string_view to_string(KvType type);
inline std::size_t element_bytes(KvType type) {
  return type == KvType::f16 ? 2 : 4;
}

struct KvFormat {
  KvType type = KvType::f16;
  std::uint32_t kv_heads = 0;
  std::uint32_t head_dim = 0;  // a multiple of 16, at most kMaxHeadDim

  bool operator==(const KvFormat&) const = default;

  std::size_t token_bytes() const { return 2 * std::size_t{kv_heads} * head_dim * element_bytes(type); }
  std::size_t block_bytes() const { return kBlockTokens * token_bytes(); }
  // Offsets in elements from the start of the block.
  std::size_t key_panel_offset(std::uint32_t head, std::uint32_t panel) const {
    return (std::size_t{head} * (kBlockTokens / kPanelTokens) + panel) * head_dim * kPanelTokens;
  }
  std::size_t value_offset(std::uint32_t head, std::uint32_t token) const {
    return std::size_t{kv_heads} * kBlockTokens * head_dim + (std::size_t{head} * kBlockTokens + token) * head_dim;
  }
};

}  // namespace rotulus::kernels
