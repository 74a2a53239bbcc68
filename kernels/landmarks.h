// Landmarks: what stands in for the keys of a block when pages are chosen. Made from the stored keys of a complete
// block, un-rotated in float32, so that one query meets all of them at the same angle. One KV head of one block:
//
//   means    f16 [8 pages][head_dim]      mean of the page's 16 keys
//   scales   u8  [head_dim]               rms deviation of the block's 128 keys from their page's mean, as a small
//   float sketch   u32 [8 pages][head_dim]      2 bits for each of the page's 16 tokens, token 0 lowest
//
// A key is then worth  mean[page][c] + scale[c] * level[code],  the levels being those of the best 4-level quantizer of
// a normal variable (Lloyd 1982; Max 1960). KV heads follow each other: head_dim * 49 bytes each, 9.6 % of f16 KV.
//
// Bounds are kept where they are asked for, apart from the others and with a version of their own. One KV head:
//
//   lows     f16 [8 pages][head_dim]      not above any of the page's 16 keys, channel by channel
//   highs    f16 [8 pages][head_dim]      not below any
//
// They are rounded outward, so that they hold: head_dim * 32 bytes each, 6.3 % of f16 KV.
//
// Centroids are kept likewise, of the complete blocks of a stripe together: as long a run of its lane as an object has.
// The keys of each KV head are dealt to clusters of 16 on average (RetroInfer, Chen et al. 2025). One KV head:
//
//   centroids  f16 [32][head_dim]   mean of the cluster's keys; zeros where it has none
//   members    u8  [512]            the cluster of each token; read modulo 32
//
// head_dim * 64 + 512 bytes each, 3.5 % of f16 KV where head_dim is 64.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/kv_format.h"

namespace rotulus::kernels {

inline constexpr std::uint32_t kLandmarkVersion = 1;
inline constexpr std::uint32_t kBoundsVersion = 1;
inline constexpr std::uint32_t kCentroidsVersion = 1;
inline constexpr std::uint32_t kStripeBlocks = kStripeTokens / kBlockTokens;

// Not inline: it is read in place, and objects of an ISA row define no weak symbols.
constexpr float kSketchLevels[4] = {-1.5104f, -0.4528f, 0.4528f, 1.5104f};
inline constexpr float kSketchThreshold = 0.9816f;  // between the second and the third, in scales

constexpr std::size_t landmark_head_bytes(std::uint32_t head_dim) {
  return std::size_t{head_dim} * (kBlockPages * 2 + 1 + kBlockPages * 4);
}
inline std::size_t landmark_block_bytes(const KvFormat& format) {
  return format.kv_heads * landmark_head_bytes(format.head_dim);
}
// The landmarks of a stripe's four blocks, one after the other: the unit in which they are stored.
inline std::size_t landmark_stripe_bytes(const KvFormat& format) {
  return kStripeBlocks * landmark_block_bytes(format);
}

constexpr std::size_t bounds_head_bytes(std::uint32_t head_dim) {
  return std::size_t{head_dim} * kBlockPages * 2 * 2;
}
inline std::size_t bounds_block_bytes(const KvFormat& format) {
  return format.kv_heads * bounds_head_bytes(format.head_dim);
}
inline std::size_t bounds_stripe_bytes(const KvFormat& format) {
  return kStripeBlocks * bounds_block_bytes(format);
}

inline constexpr std::uint32_t kStripeClusters = 32;
constexpr std::size_t centroid_head_bytes(std::uint32_t head_dim) {
  return std::size_t{kStripeClusters} * head_dim * 2 + kStripeTokens;
}
inline std::size_t centroids_stripe_bytes(const KvFormat& format) {
  return format.kv_heads * centroid_head_bytes(format.head_dim);
}

// One KV head's part, as it lies in memory.
struct LandmarkView {
  const std::uint16_t* means;
  const std::uint8_t* scales;
  const std::uint32_t* sketch;
};
inline LandmarkView view_landmarks(const std::byte* head, std::uint32_t head_dim) {
  const std::size_t mean_bytes = std::size_t{kBlockPages} * head_dim * 2;
  return {reinterpret_cast<const std::uint16_t*>(head), reinterpret_cast<const std::uint8_t*>(head + mean_bytes),
          reinterpret_cast<const std::uint32_t*>(head + mean_bytes + head_dim)};
}

struct BoundsView {
  const std::uint16_t* lows;
  const std::uint16_t* highs;
};
inline BoundsView view_bounds(const std::byte* head, std::uint32_t head_dim) {
  const auto* lows = reinterpret_cast<const std::uint16_t*>(head);
  return {lows, lows + std::size_t{kBlockPages} * head_dim};
}

struct CentroidView {
  const std::uint16_t* centroids;
  const std::uint8_t* members;
};
inline CentroidView view_centroids(const std::byte* head, std::uint32_t head_dim) {
  return {reinterpret_cast<const std::uint16_t*>(head),
          reinterpret_cast<const std::uint8_t*>(head + std::size_t{kStripeClusters} * head_dim * 2)};
}

// A scale in 8 bits: 5 of exponent, 3 of mantissa, 2^-16 ... 61440; 0 is zero.
constexpr float decode_scale(std::uint8_t code) {
  if (code == 0) return 0.0f;
  return __builtin_bit_cast(float, (std::uint32_t{code} + (std::uint32_t{111} << 3)) << 20);
}
constexpr std::uint8_t encode_scale(float scale) {  // to nearest; what is too large becomes the largest
  const std::uint32_t bits = __builtin_bit_cast(std::uint32_t, scale) & 0x7fffffffu;
  const std::uint32_t rounded = (bits + (1u << 19)) >> 20;
  if (rounded <= (std::uint32_t{111} << 3)) return 0;
  const std::uint32_t code = rounded - (std::uint32_t{111} << 3);
  return static_cast<std::uint8_t>(code > 255 ? 255 : code);
}

}  // namespace rotulus::kernels
