// The stored form of keys and values: what memory, disk and every reader see. Attention reads nothing else.
//
// One block is 128 tokens of one layer, all KV heads:
//
//   keys    [kv_heads][2 panels], each  codes [head_dim][64 tokens], scales [groups][64 tokens]
//   values  [kv_heads], each            codes [128 tokens][head_dim], scales [groups][128 tokens]
//
// Keys are transposed, so that no reader re-lays them, and stored rotated at their true document position. The stored
// form of a token is a function of that token alone. Rows of a block that are not in use are zero.
//
//   f32, f16, bf16   the number itself, rounded to nearest even; no scales
//   int8             code * scale, code in -127..127
//   int4             (code - 7.5) * scale, code in 0..15
//
// A scale, f16, is that of 32 channels of one token and KV head (the last group may be of 16): the largest magnitude
// among them divided by 127 or 7.5. A channel is half a scale off at most: kMaxInt8Error (kMaxInt4Error) of that
// magnitude, plus 2^-17 where the scale is a subnormal f16. What is not finite, or has no finite scale, makes its group
// NaN or infinite. Four bits: the codes of 16 neighbours in memory, tokens of a key or channels of a value, are 8
// bytes; byte i holds neighbour i in its low half and i + 8 in its high half.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace rotulus::kernels {

enum class KvType : std::uint8_t { f16 = 0, f32 = 1, bf16 = 2, int8 = 3, int4 = 4 };
inline constexpr KvType kKvTypes[] = {KvType::f16, KvType::f32, KvType::bf16, KvType::int8, KvType::int4};

inline constexpr std::size_t kKvElementAlignment = 64;
inline constexpr std::uint32_t kBlockTokens = 128;
inline constexpr std::uint32_t kPanelTokens = 64;
inline constexpr std::uint32_t kBlockPanels = kBlockTokens / kPanelTokens;
inline constexpr std::uint32_t kStripeTokens = 512;
inline constexpr std::uint32_t kPageTokens = 16;
inline constexpr std::uint32_t kBlockPages = kBlockTokens / kPageTokens;
inline constexpr std::uint32_t kMaxHeadDim = 256;
inline constexpr std::uint32_t kScaleChannels = 32;

inline constexpr double kMaxInt8Error = 0.5 / 127 * (1 + 0x1p-11);
inline constexpr double kMaxInt4Error = 0.5 / 7.5 * (1 + 0x1p-11);

std::string_view to_string(KvType type);
bool parse_kv_type(std::string_view name, KvType& type);

constexpr std::size_t element_bits(KvType type) {
  return type == KvType::f32 ? 32 : type == KvType::int8 ? 8 : type == KvType::int4 ? 4 : 16;
}
constexpr bool has_scales(KvType type) {
  return type == KvType::int8 || type == KvType::int4;
}

struct KvFormat {
  KvType type = KvType::f16;
  std::uint32_t kv_heads = 0;
  std::uint32_t head_dim = 0;  // a multiple of 16, at most kMaxHeadDim

  bool operator==(const KvFormat&) const = default;

  std::uint32_t groups() const { return has_scales(type) ? (head_dim + kScaleChannels - 1) / kScaleChannels : 0; }
  std::size_t token_bytes() const { return 2 * kv_heads * head_bytes(); }
  std::size_t block_bytes() const { return kBlockTokens * token_bytes(); }

  // Offsets in bytes from the start of the block, and the bytes of one row of codes.
  std::size_t key_offset(std::uint32_t head, std::uint32_t panel) const {
    return (head * std::size_t{kBlockPanels} + panel) * kPanelTokens * head_bytes();
  }
  std::size_t key_scale_offset(std::uint32_t head, std::uint32_t panel) const {
    return key_offset(head, panel) + head_dim * key_row_bytes();
  }
  std::size_t key_row_bytes() const { return kPanelTokens * element_bits(type) / 8; }
  std::size_t value_offset(std::uint32_t head) const { return (kv_heads + head) * kBlockTokens * head_bytes(); }
  std::size_t value_scale_offset(std::uint32_t head) const {
    return value_offset(head) + kBlockTokens * value_row_bytes();
  }
  std::size_t value_row_bytes() const { return head_dim * element_bits(type) / 8; }

 private:
  // The keys or the values of one token and head.
  std::size_t head_bytes() const { return head_dim * element_bits(type) / 8 + groups() * sizeof(std::uint16_t); }
};

}  // namespace rotulus::kernels
