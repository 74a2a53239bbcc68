// When a child that died is started again, and when it is not worth it.
#pragma once

#include <chrono>
#include <optional>

namespace rotulus::client {

// How a child ended.
struct ChildDeath {
  bool was_ready = false;  // the service had answered while it lived
  bool by_itself = false;  // it chose to end; false where a signal ended it, a rank of its job or a peer
};

// Delays of 0.1 s, doubled at each death before readiness, up to 2 s. A child that ends by itself five times in a row
// without ever having been ready would do so for ever (a bad model file, a taken port): nullopt.
class RestartPolicy final {
 public:
  static constexpr std::chrono::milliseconds kFirstDelay{100};
  static constexpr std::chrono::milliseconds kLongestDelay{2000};
  static constexpr int kMaxFailedStarts = 5;

  std::optional<std::chrono::milliseconds> after(const ChildDeath& death);

 private:
  std::chrono::milliseconds next_delay_ = kFirstDelay;
  int failed_starts_ = 0;
};

}  // namespace rotulus::client
