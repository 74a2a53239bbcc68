// The coordinator's one event loop, its clocks, and its small pool of threads for files, as the rest of the room sees
// them: without Boost's headers, and with a clock that a test may move.
//
// Threads: post() from any; the others on the loop. Nothing that runs on the loop blocks.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>

#include "protocol/error.h"

namespace boost::asio {
class io_context;
class thread_pool;
}  // namespace boost::asio

namespace rotulus::coordinator {

// Cancels when it is destroyed; what it would have called is then not called.
using Timer = std::shared_ptr<void>;

class EventLoop {
 public:
  virtual ~EventLoop() = default;
  virtual void post(std::function<void()> task) = 0;
  [[nodiscard]] virtual Timer after(std::chrono::milliseconds delay, std::function<void()> task) = 0;
  // Runs `work` on the file pool, then `done` on the loop with the Error that it threw, if any.
  virtual void in_background(std::function<void()> work, std::function<void(std::optional<protocol::Error>)> done) = 0;
  virtual std::chrono::steady_clock::time_point now() const = 0;
  virtual std::int64_t unix_ms() const = 0;
};

// Both must outlive the loop and everything posted to it.
std::unique_ptr<EventLoop> make_event_loop(boost::asio::io_context& io, boost::asio::thread_pool& files);

}  // namespace rotulus::coordinator
