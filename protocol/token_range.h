// Positions in a document and the fixed sizes in which it is cut. All cuts are at absolute positions.
#pragma once

#include <cstdint>

namespace rotulus::protocol {

inline constexpr std::uint32_t kPageTokens = 16;     // the finest unit that a selection names
inline constexpr std::uint32_t kBlockTokens = 128;   // the unit of storage and loading; a query tile
inline constexpr std::uint32_t kStripeTokens = 512;  // the unit of placement; the key tile of attention
inline constexpr std::uint32_t kChunkTokens = 4096;  // the unit of commit and of resuming
inline constexpr std::uint32_t kPagesPerBlock = kBlockTokens / kPageTokens;
inline constexpr std::uint32_t kBlocksPerStripe = kStripeTokens / kBlockTokens;
inline constexpr std::uint32_t kBlocksPerChunk = kChunkTokens / kBlockTokens;
static_assert(kBlockTokens % kPageTokens == 0 && kStripeTokens % kBlockTokens == 0 &&
              kChunkTokens % kStripeTokens == 0);

struct TokenRange {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;  // one past the last
  std::uint64_t count() const { return end - begin; }
  bool operator==(const TokenRange&) const = default;
};

inline std::uint64_t ceil_div(std::uint64_t value, std::uint64_t unit) {
  return (value + unit - 1) / unit;
}
inline std::uint64_t block_count(std::uint64_t tokens) {
  return ceil_div(tokens, kBlockTokens);
}
inline std::uint64_t chunk_count(std::uint64_t tokens) {
  return ceil_div(tokens, kChunkTokens);
}

// The token range of chunk `index` in a document of `tokens` tokens.
inline TokenRange chunk_range(std::uint64_t index, std::uint64_t tokens) {
  const std::uint64_t begin = index * kChunkTokens;
  const std::uint64_t end = begin + kChunkTokens;
  return {begin, end < tokens ? end : tokens};
}

}  // namespace rotulus::protocol
