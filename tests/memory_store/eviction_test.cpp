// Policies alone, and in the host tier: who leaves, and how much of a loop longer than memory is found.
#include "memory_store/eviction.h"

#include <gtest/gtest.h>

#include <fstream>
#include <random>
#include <set>

#include "memory_store/access_trace.h"
#include "memory_store/tiers/host/host_tier.h"
#include "protocol/error.h"
#include "tests/memory_store/support.h"

namespace rotulus::memory_store {
namespace {

BlockAddress block(std::uint32_t index) {
  return {.object = {1}, .block = index};
}

HostTierConfig config_of(Eviction eviction, std::size_t slots) {
  return {.block_bytes = 64, .budget_bytes = slots * 64, .eviction = eviction};
}

// Whether it was there.
bool ask(HostTier& tier, std::uint32_t index) {
  std::optional<Slot> slot = tier.pin(block(index));
  const bool was_there = slot.has_value();
  if (!slot) slot = tier.place(block(index));
  tier.unpin({&*slot, 1});
  return was_there;
}

class EveryPolicy : public testing::TestWithParam<Eviction> {};
INSTANTIATE_TEST_SUITE_P(Policies, EveryPolicy, testing::Values(Eviction::lru, Eviction::frequent));

// Against a set kept by hand: any order of placing, using, tracking, untracking and evicting.
TEST_P(EveryPolicy, NamesATrackedSlotWhereThereIsOneAndNoOther) {
  constexpr std::size_t kSlots = 7;
  const auto policy = make_eviction_policy(GetParam(), kSlots);
  std::mt19937 random(5);
  std::set<Slot> tracked;
  for (std::uint32_t round = 0; round < 20'000; ++round) {
    const auto slot = static_cast<Slot>(random() % kSlots);
    if (tracked.erase(slot) > 0) {
      policy->untrack(slot);
      if (random() % 2 == 0) policy->use(slot);
    } else {
      if (random() % 4 == 0) policy->place(slot);
      policy->track(slot);
      tracked.insert(slot);
    }
    const auto next = policy->next();
    ASSERT_EQ(next.has_value(), !tracked.empty());
    ASSERT_TRUE(!next || tracked.contains(*next));
  }
}

TEST_P(EveryPolicy, KeepsWhatIsAskedForAllTheTimeWhileOthersPassBy) {
  HostTier tier(config_of(GetParam(), 8));
  std::size_t found = 0;
  for (std::uint32_t round = 0; round < 100; ++round) {
    found += ask(tier, 0) ? 1 : 0;
    ask(tier, 1000 + round);
  }
  EXPECT_EQ(found, 99u);
}

TEST(Frequent, KeepsAPartOfALoopThatIsLongerThanMemoryWhereLruKeepsNothing) {
  constexpr std::uint32_t kSlots = 16, kLoop = 64, kTurns = 50;
  const auto found = [&](Eviction eviction) {
    HostTier tier(config_of(eviction, kSlots));
    std::size_t count = 0;
    for (std::uint32_t i = 0; i < kTurns * kLoop; ++i) count += ask(tier, i % kLoop) ? 1 : 0;
    return count;
  };
  EXPECT_EQ(found(Eviction::lru), 0u);
  // At best all but one slot are found at each turn but the first.
  EXPECT_GT(found(Eviction::frequent), std::size_t{kTurns - 1} * (kSlots - 1) * 8 / 10);
}

TEST(Frequent, LetsGoOfWhatIsNoLongerAskedFor) {
  HostTier tier(config_of(Eviction::frequent, 16));
  for (std::uint32_t i = 0; i < 16 * 200; ++i) ask(tier, i % 16);  // an old favourite …
  std::size_t found = 0;
  for (std::uint32_t turn = 0; turn < 100; ++turn) {  // … and a new one of the same size
    found = 0;
    for (std::uint32_t i = 0; i < 16; ++i) found += ask(tier, 100 + i) ? 1 : 0;
  }
  EXPECT_EQ(found, 16u);
}

TEST(AccessTrace, IsReadAsItWasWrittenAndRefusedByLine) {
  const TemporaryDirectory directory;
  const std::vector<std::vector<BlockAddress>> groups{
      {{.object = {7}, .layer = 1, .block = 2}, {.object = {1ull << 63}, .layer = 3, .block = 4}}, {block(5)}};
  {
    AccessTrace trace(directory / "trace");
    for (const auto& group : groups) trace.write(group);
  }
  EXPECT_EQ(read_access_trace(directory / "trace"), groups);
  std::ofstream(directory / "bad") << "1 2 3\n1 2\n";
  EXPECT_NE(catch_error([&] { read_access_trace(directory / "bad"); }).message().find("line 2"), std::string::npos);
}

}  // namespace
}  // namespace rotulus::memory_store
