// Lanes: the fixed parts of a context that are placed on ranks, and the fixed binary tree in which their partial
// attentions are merged. Neither depends on the number of ranks, which is why the bits of an answer do not.
//
//   lane(b) = bit_reverse(floor(b / 4) mod S),  b a block index, S = 256
//
// Bit reversal spreads the stripes of a short document evenly over contiguous lane ranges.
#pragma once

#include <cstdint>
#include <vector>

namespace rotulus::protocol {

inline constexpr std::uint32_t kLaneCount = 256;

struct LaneRange {
  std::uint32_t begin = 0;
  std::uint32_t end = 0;
  bool contains(std::uint32_t lane) const { return begin <= lane && lane < end; }
  bool operator==(const LaneRange&) const = default;
};

// An aligned run of lanes [first, first + size), size a power of two: one node of the merge tree.
struct LaneNode {
  std::uint32_t first = 0;
  std::uint32_t size = kLaneCount;
  bool operator==(const LaneNode&) const = default;
};

std::uint32_t lane_of_block(std::uint64_t block);
std::uint32_t lane_of_stripe(std::uint64_t stripe);

// The lanes that `rank` of `size` ranks owns: contiguous, disjoint, together all lanes; sizes differ by at most one.
LaneRange lanes_of_rank(std::uint32_t rank, std::uint32_t size);
std::uint32_t rank_of_lane(std::uint32_t lane, std::uint32_t size);

// The fewest tree nodes that cover exactly `lanes`, ascending; at most 2·log2(S) of them.
std::vector<LaneNode> cover(LaneRange lanes);

}  // namespace rotulus::protocol
