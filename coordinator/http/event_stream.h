// Server-sent events, from callbacks of the event loop to one client.
//
// Callbacks add to the queue at any time; the request's coroutine sends it. A client that does not read is cut off
// when kMaxStreamBufferBytes wait for it, whoever else is being served.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "coordinator/http/awaiting.h"
#include "coordinator/http/exchange.h"

namespace rotulus::coordinator::http {

class EventQueue final {
 public:
  explicit EventQueue(Exchange& exchange) : exchange_(exchange) {}

  void send(std::string_view data, std::optional<std::uint64_t> id = {});  // one event
  void comment(std::string_view text);                                     // read by nobody: keeps the road open
  void finish();                                                           // nothing follows
  bool is_finished() const { return is_finished_; }
  bool is_empty() const { return text_.empty(); }
  std::string take();
  void notify() { wakeup_.notify(); }
  awaitable<void> wait(std::chrono::milliseconds at_most) { return wakeup_.wait(at_most); }

 private:
  void append(std::string_view text);

  Exchange& exchange_;
  Wakeup wakeup_;
  std::string text_;
  bool is_finished_ = false;
};

// How often a silent request looks whether its client is still there.
inline constexpr std::chrono::milliseconds kClientCheckInterval{200};

// Sends what the queue gets until it is finished and empty, with a comment in every silent `keep_alive`. Calls
// `on_tick` at least every kClientCheckInterval. False: the client has gone.
awaitable<bool> send_events(Exchange& exchange, EventQueue& events, std::chrono::milliseconds keep_alive,
                            std::function<void()> on_tick = {});

}  // namespace rotulus::coordinator::http
