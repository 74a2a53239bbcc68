// The policy is a value: deaths go in, delays come out, no clock runs.
#include "client/serve/restart_policy.h"

#include <gtest/gtest.h>

namespace rotulus::client {
namespace {

using namespace std::chrono_literals;

constexpr ChildDeath kKilled{.was_ready = false, .by_itself = false};
constexpr ChildDeath kFailedStart{.was_ready = false, .by_itself = true};
constexpr ChildDeath kKilledAtWork{.was_ready = true, .by_itself = false};

TEST(RestartPolicy, DoublesTheDelayUpToItsLimit) {
  RestartPolicy policy;
  for (auto expected : {100ms, 200ms, 400ms, 800ms, 1600ms, 2000ms, 2000ms}) EXPECT_EQ(policy.after(kKilled), expected);
}

TEST(RestartPolicy, BeginsAnewAfterReadiness) {
  RestartPolicy policy;
  policy.after(kKilled);
  policy.after(kKilled);
  EXPECT_EQ(policy.after(kKilledAtWork), 100ms);
  EXPECT_EQ(policy.after(kKilled), 200ms);
}

TEST(RestartPolicy, GivesUpAfterFiveFailedStartsInARow) {
  RestartPolicy policy;
  for (int start = 1; start < RestartPolicy::kMaxFailedStarts; ++start) EXPECT_TRUE(policy.after(kFailedStart));
  EXPECT_FALSE(policy.after(kFailedStart));
}

TEST(RestartPolicy, NeverGivesUpOnWhatIsKilled) {
  RestartPolicy policy;
  for (int death = 0; death < 100; ++death) EXPECT_TRUE(policy.after(kKilled));
  for (int start = 1; start < RestartPolicy::kMaxFailedStarts; ++start) policy.after(kFailedStart);
  policy.after(kKilled);
  EXPECT_TRUE(policy.after(kFailedStart));
}

}  // namespace
}  // namespace rotulus::client
