#include "protocol/lanes.h"

#include <bit>

#include "protocol/error.h"
#include "protocol/token_range.h"

namespace rotulus::protocol {

static_assert(kLaneCount == 256, "lane_of_stripe reverses eight bits");

std::uint32_t lane_of_stripe(std::uint64_t stripe) {
  const auto index = static_cast<std::uint32_t>(stripe % kLaneCount);
  std::uint32_t lane = 0;
  for (int bit = 0; bit < 8; ++bit) lane |= ((index >> bit) & 1u) << (7 - bit);
  return lane;
}

std::uint32_t lane_of_block(std::uint64_t block) {
  return lane_of_stripe(block / kBlocksPerStripe);
}

LaneRange lanes_of_rank(std::uint32_t rank, std::uint32_t size) {
  CHECK(rank < size, rank, size);
  return {rank * kLaneCount / size, (rank + 1) * kLaneCount / size};
}

std::uint32_t rank_of_lane(std::uint32_t lane, std::uint32_t size) {
  CHECK(lane < kLaneCount && size > 0, lane, size);
  std::uint32_t rank = lane * size / kLaneCount;
  while (lanes_of_rank(rank, size).end <= lane) ++rank;
  return rank;
}

std::vector<LaneNode> cover(LaneRange lanes) {
  CHECK(lanes.begin <= lanes.end && lanes.end <= kLaneCount, lanes.begin, lanes.end);
  std::vector<LaneNode> nodes;
  for (std::uint32_t first = lanes.begin; first < lanes.end;) {
    const std::uint32_t aligned = first == 0 ? kLaneCount : 1u << std::countr_zero(first);
    const std::uint32_t size = std::min(aligned, std::bit_floor(lanes.end - first));
    nodes.push_back({first, size});
    first += size;
  }
  return nodes;
}

}  // namespace rotulus::protocol
