// Replays a trace of block accesses (rotulus-worker --access-trace) through the host tier itself, under each policy and
// several budgets, and prints how many of the blocks asked for were found in memory, and how long making a place took
// where another block had to leave for it.
//
//   rotulus-bench-eviction TRACE [TRACE …]
#include <fmt/format.h>

#include <chrono>
#include <cstdio>
#include <set>
#include <utility>

#include "memory_store/access_trace.h"
#include "memory_store/tiers/host/host_tier.h"
#include "protocol/error.h"

namespace {

using namespace rotulus::memory_store;

constexpr std::size_t kSlotBytes = 64;  // nothing is read into them
constexpr std::pair<const char*, Eviction> kPolicies[] = {{"lru", Eviction::lru}, {"frequent", Eviction::frequent}};
constexpr double kShares[] = {0.125, 0.25, 0.5, 0.75};

using Trace = std::vector<std::vector<BlockAddress>>;

std::size_t count_blocks(const Trace& trace) {
  std::set<BlockAddress> blocks;
  for (const auto& group : trace) blocks.insert(group.begin(), group.end());
  return blocks.size();
}

struct Replay {
  double found = 0;        // the share of blocks that were there when they were asked for
  double eviction_ns = 0;  // the mean of places that another block left for
};

Replay replay(const Trace& trace, Eviction eviction, std::size_t slots) {
  HostTier tier({.block_bytes = kSlotBytes, .budget_bytes = slots * kSlotBytes, .eviction = eviction});
  std::size_t asked = 0, found = 0, timed = 0;
  std::chrono::steady_clock::duration spent{0};
  const auto place = [&](const BlockAddress& address) {
    const bool evicts = tier.usage().used_bytes == slots * kSlotBytes;
    const auto began = std::chrono::steady_clock::now();
    const Slot slot = tier.place(address);
    if (evicts) spent += std::chrono::steady_clock::now() - began;
    timed += evicts ? 1 : 0;
    return slot;
  };
  for (const auto& group : trace) {
    std::vector<std::optional<Slot>> resident(group.size());
    tier.pin_resident(group, resident);
    std::vector<Slot> pinned;
    for (std::size_t i = 0; i < group.size(); ++i) {
      found += resident[i] ? 1 : 0;
      if (!resident[i]) resident[i] = tier.pin(group[i]);
      pinned.push_back(resident[i] ? *resident[i] : place(group[i]));
    }
    asked += group.size();
    tier.unpin(pinned);
  }
  const double nanoseconds = std::chrono::duration<double, std::nano>(spent).count();
  return {static_cast<double>(found) / static_cast<double>(asked),
          timed > 0 ? nanoseconds / static_cast<double>(timed) : 0};
}

void print_table(const char* path) {
  const Trace trace = read_access_trace(path);
  const std::size_t blocks = count_blocks(trace);
  std::size_t asked = 0;
  for (const auto& group : trace) asked += group.size();
  fmt::print("{}: {} accesses to {} blocks\n\n| memory for |", path, asked, blocks);
  for (const auto& [name, eviction] : kPolicies) fmt::print(" {} |", name);
  fmt::print("\n|---|");
  for (std::size_t i = 0; i < std::size(kPolicies); ++i) fmt::print("---|");
  for (const double share : kShares) {
    const auto slots = static_cast<std::size_t>(share * static_cast<double>(blocks));
    fmt::print("\n| {:.1f} % of the blocks |", 100 * share);
    for (const auto& [name, eviction] : kPolicies) {
      const Replay replayed = replay(trace, eviction, slots);
      fmt::print(" {:.3f}, {:.0f} ns |", replayed.found, replayed.eviction_ns);
    }
  }
  fmt::print("\n\n");
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    fmt::print(stderr, "usage: rotulus-bench-eviction TRACE [TRACE …]\n");
    return 2;
  }
  try {
    for (int i = 1; i < argc; ++i) print_table(argv[i]);
  } catch (const rotulus::protocol::Error& error) {
    fmt::print(stderr, "rotulus-bench-eviction: {}\n", error.message());
    return 1;
  }
  return 0;
}
