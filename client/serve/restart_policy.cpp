#include "client/serve/restart_policy.h"

#include <algorithm>

namespace rotulus::client {

std::optional<std::chrono::milliseconds> RestartPolicy::after(const ChildDeath& death) {
  if (death.was_ready) *this = RestartPolicy();
  failed_starts_ = death.by_itself && !death.was_ready ? failed_starts_ + 1 : 0;
  if (failed_starts_ >= kMaxFailedStarts) return std::nullopt;
  auto delay = next_delay_;
  next_delay_ = std::min(2 * next_delay_, kLongestDelay);
  return delay;
}

}  // namespace rotulus::client
