#include "protocol/lanes.h"

#include <gtest/gtest.h>

#include "protocol/ids.h"

namespace rotulus::protocol {
namespace {

// Every rank count must deal all lanes once, in contiguous runs, and agree with rank_of_lane.
TEST(Lanes, AreDealtOnceForEveryRankCount) {
  for (std::uint32_t size = 1; size <= kLaneCount; ++size) {
    std::uint32_t next = 0;
    for (std::uint32_t rank = 0; rank < size; ++rank) {
      const LaneRange lanes = lanes_of_rank(rank, size);
      ASSERT_EQ(lanes.begin, next);
      ASSERT_GE(lanes.end - lanes.begin, kLaneCount / size);
      for (std::uint32_t lane = lanes.begin; lane < lanes.end; ++lane) ASSERT_EQ(rank_of_lane(lane, size), rank);
      next = lanes.end;
    }
    ASSERT_EQ(next, kLaneCount);
  }
}

TEST(Lanes, CoverIsAlignedExactAndSmall) {
  for (std::uint32_t begin = 0; begin <= kLaneCount; ++begin) {
    for (std::uint32_t end = begin; end <= kLaneCount; ++end) {
      const auto nodes = cover({begin, end});
      ASSERT_LE(nodes.size(), 16u);
      std::uint32_t next = begin;
      for (const LaneNode& node : nodes) {
        ASSERT_EQ(node.first, next);
        ASSERT_EQ(node.first % node.size, 0u);
        next += node.size;
      }
      ASSERT_EQ(next, end);
    }
  }
}

TEST(Lanes, SpreadTheStripesOfAShortDocument) {
  EXPECT_EQ(lane_of_stripe(0), 0u);
  EXPECT_EQ(lane_of_stripe(1), 128u);
  EXPECT_EQ(lane_of_stripe(2), 64u);
  EXPECT_EQ(lane_of_stripe(256), 0u);
  EXPECT_EQ(lane_of_block(7), lane_of_stripe(1));
}

TEST(Ids, ContextIdIsReadBackOnlyInItsCanonicalSpelling) {
  const ContextId id{0x4f2aull};
  EXPECT_EQ(parse_context_id(to_string(id)), id);
  for (const char* bad :
       {"", "ctx_", "ctx_x", "ctx_0000000000000000", "ctx_0000000000004F2A", "ctx_4f2a", "ctx_000000000000 4f2a"}) {
    EXPECT_EQ(parse_context_id(bad), std::nullopt) << bad;
  }
}

}  // namespace
}  // namespace rotulus::protocol
