// The rules of liveness.h, on times made by hand.
#include "worker/parallel/liveness.h"

#include <gtest/gtest.h>

namespace rotulus::worker {
namespace {

using namespace std::chrono_literals;

const Liveness::TimePoint kStart{1h};

TEST(Liveness, TellsOfItsWorkAtMostOnceAnInterval) {
  Liveness liveness(0, 3, 1000ms);
  EXPECT_FALSE(liveness.due(kStart));
  for (int i = 0; i < 5; ++i) liveness.work();
  EXPECT_TRUE(liveness.due(kStart));
  EXPECT_FALSE(liveness.due(kStart + 2s)) << "no work since";
  liveness.work();
  EXPECT_TRUE(liveness.due(kStart + 2s));
  liveness.work();
  EXPECT_FALSE(liveness.due(kStart + 2999ms));
  EXPECT_TRUE(liveness.due(kStart + 3s));
}

TEST(Liveness, PassesOnTheWorkOfThoseItWaitsForAndOfNoOthers) {
  Liveness worker(2, 3, 1ms), waiting(1, 3, 1ms);
  worker.work();
  const auto beacon = worker.due(kStart);
  ASSERT_TRUE(beacon);
  waiting.hear_beacon(2, *beacon, /*is_awaited=*/false, kStart);
  EXPECT_FALSE(waiting.due(kStart));
  worker.work();
  const auto second = worker.due(kStart + 1s);
  waiting.hear_beacon(2, *second, /*is_awaited=*/true, kStart + 1s);
  EXPECT_EQ(waiting.due(kStart + 1s), second);
  EXPECT_EQ(waiting.last_heard(2), kStart + 1s);

  // At rank 0 it is a sign of life of rank 1, although the same was heard from rank 2 itself.
  Liveness last(0, 3, 1ms);
  last.hear_beacon(2, *second, false, kStart + 1s);
  last.hear_beacon(1, *second, true, kStart + 2s);
  EXPECT_EQ(last.last_heard(1), kStart + 2s);
}

TEST(Liveness, IsNotKeptAliveByItsOwnOrByOldWork) {
  Liveness one(0, 2, 1ms), other(1, 2, 1ms);
  one.work();
  const auto beacon = one.due(kStart);
  other.hear_beacon(0, *beacon, true, kStart);
  const auto echo = other.due(kStart);
  ASSERT_EQ(echo, beacon);
  one.hear_beacon(1, *echo, true, kStart + 1s);
  EXPECT_EQ(one.last_heard(1), Liveness::TimePoint{});
  EXPECT_FALSE(one.due(kStart + 1s));
  other.hear_beacon(0, *beacon, true, kStart + 5s);
  EXPECT_EQ(other.last_heard(0), kStart);
}

}  // namespace
}  // namespace rotulus::worker
