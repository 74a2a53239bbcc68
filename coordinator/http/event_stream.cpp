#include "coordinator/http/event_stream.h"

#include <fmt/format.h>

#include "protocol/limits.h"

namespace rotulus::coordinator::http {

using std::chrono::steady_clock;

void EventQueue::send(std::string_view data, std::optional<std::uint64_t> id) {
  std::string text = id ? fmt::format("id: {}\n", *id) : "";
  text += fmt::format("data: {}\n\n", data);
  append(text);
}

void EventQueue::comment(std::string_view text) {
  append(fmt::format(": {}\n\n", text.substr(0, text.find_first_of("\r\n"))));
}

void EventQueue::finish() {
  is_finished_ = true;
  wakeup_.notify();
}

void EventQueue::append(std::string_view text) {
  if (is_finished_) return;
  if (text_.size() + text.size() > protocol::kMaxStreamBufferBytes) {
    is_finished_ = true;
    exchange_.abort();
    wakeup_.notify();
    return;
  }
  text_ += text;
  wakeup_.notify();
}

std::string EventQueue::take() {
  return std::exchange(text_, {});
}

awaitable<bool> send_events(Exchange& exchange, EventQueue& events, std::chrono::milliseconds keep_alive,
                            std::function<void()> on_tick) {
  auto sent_at = steady_clock::now();
  while (true) {
    if (on_tick) on_tick();
    if (exchange.is_client_gone()) co_return false;
    if (events.is_empty() && events.is_finished()) co_return true;
    if (events.is_empty() && steady_clock::now() - sent_at >= keep_alive) events.comment("keep-alive");
    if (events.is_empty()) {
      co_await events.wait(kClientCheckInterval);
      continue;
    }
    const std::string text = events.take();
    co_await exchange.write(text);
    sent_at = steady_clock::now();
  }
}

}  // namespace rotulus::coordinator::http
