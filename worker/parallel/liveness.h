// Who of the group still gets on with its work, so that a deadline counts silence and not a long computation.
//
// A rank that computes tells all others so, at most once an interval, by a beacon. A rank that waits tells it on behalf
// of the one it waits for, because whoever waits for *it* cannot know why it is late. A beacon names the rank that
// really worked and how often it has said so; each is passed on once by each rank, so that ranks that wait for each
// other in a circle fall silent and their deadlines end.
//
// Pure: no clock, no messages of its own. One thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <vector>

namespace rotulus::worker {

class Liveness final {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;
  using Beacon = std::uint64_t;  // origin in the upper 16 bits, its count in the lower 48

  Liveness(std::uint32_t rank, std::uint32_t size, std::chrono::milliseconds interval);

  // This rank got on: it computed, or a message it waited for has come.
  void work();
  // A message of `peer` was completed.
  void hear_message(std::uint32_t peer, TimePoint now);
  // `is_awaited`: this rank waits for `peer` now; the beacon is then passed on.
  void hear_beacon(std::uint32_t peer, Beacon beacon, bool is_awaited, TimePoint now);

  // What is to be sent to all others now, if anything.
  std::optional<Beacon> due(TimePoint now);

  // When `peer` last showed that it gets on; the epoch of the clock if never.
  TimePoint last_heard(std::uint32_t peer) const { return last_heard_[peer]; }

 private:
  std::uint32_t rank_;
  std::uint32_t size_;
  std::chrono::milliseconds interval_;
  std::uint64_t own_count_ = 0;
  std::optional<Beacon> next_;
  TimePoint last_sent_;
  std::vector<TimePoint> last_heard_;     // [size]
  std::vector<std::uint64_t> passed_on_;  // [origin] highest count that was passed on
  std::vector<std::uint64_t> heard_;      // [peer, origin] highest count that the peer told of
};

}  // namespace rotulus::worker
