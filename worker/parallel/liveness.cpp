#include "worker/parallel/liveness.h"

#include <utility>

#include "protocol/error.h"

namespace rotulus::worker {
namespace {

constexpr int kOriginShift = 48;
constexpr std::uint64_t kCountMask = (std::uint64_t{1} << kOriginShift) - 1;

}  // namespace

Liveness::Liveness(std::uint32_t rank, std::uint32_t size, std::chrono::milliseconds interval)
    : rank_(rank),
      size_(size),
      interval_(interval),
      last_heard_(size),
      passed_on_(size),
      heard_(std::size_t{size} * size) {
  CHECK(rank < size && size < 1u << 16, rank, size);
}

void Liveness::work() {
  next_ = std::uint64_t{rank_} << kOriginShift | (++own_count_ & kCountMask);
}

void Liveness::hear_message(std::uint32_t peer, TimePoint now) {
  last_heard_[peer] = now;
}

void Liveness::hear_beacon(std::uint32_t peer, Beacon beacon, bool is_awaited, TimePoint now) {
  const auto origin = static_cast<std::uint32_t>(beacon >> kOriginShift);
  const std::uint64_t count = beacon & kCountMask;
  CHECK(origin < size_ && peer < size_, origin, peer, size_);
  if (origin == rank_) return;  // our own work, on its way back: no news
  std::uint64_t& heard = heard_[std::size_t{peer} * size_ + origin];
  if (count <= heard) return;
  heard = count;
  last_heard_[peer] = now;
  if (!is_awaited || count <= passed_on_[origin]) return;
  passed_on_[origin] = count;
  next_ = beacon;
}

std::optional<Liveness::Beacon> Liveness::due(TimePoint now) {
  if (!next_ || (last_sent_ != TimePoint{} && now - last_sent_ < interval_)) return std::nullopt;
  last_sent_ = now;
  return std::exchange(next_, std::nullopt);
}

}  // namespace rotulus::worker
