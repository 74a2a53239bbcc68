// How a coroutine of the event loop waits for what is not a socket: a callback, a flag, work on another thread.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string_view>
#include <tuple>

#include <boost/asio/awaitable.hpp>

namespace boost::asio {
class thread_pool;
}

namespace rotulus::coordinator::http {

using boost::asio::awaitable;

// Wakes the one coroutine that waits. A notification while nobody waits is kept for the next wait.
class Wakeup final {
 public:
  Wakeup();
  ~Wakeup();
  Wakeup(const Wakeup&) = delete;
  Wakeup& operator=(const Wakeup&) = delete;

  void notify();
  awaitable<void> wait(std::chrono::milliseconds at_most);

 private:
  class State;
  std::shared_ptr<State> state_;
};

[[noreturn]] void throw_no_answer(std::string_view from);  // Error{deadline_exceeded}

// A callback that is called once, awaited: pass callback() on, then co_await answer(). A callback that comes after the
// deadline, or never, does no harm.
template <typename... Values>
class Reply final {
 public:
  std::function<void(Values...)> callback() {
    return [state = state_](Values... values) {
      state->values.emplace(std::move(values)...);
      state->wakeup.notify();
    };
  }

  // `from` is named when the deadline passes.
  awaitable<std::tuple<Values...>> answer(std::string_view from, std::chrono::milliseconds at_most) {
    const auto state = state_;
    if (!state->values) co_await state->wakeup.wait(at_most);
    if (!state->values) throw_no_answer(from);
    co_return std::move(*state->values);
  }

 private:
  struct State {
    Wakeup wakeup;
    std::optional<std::tuple<Values...>> values;
  };
  std::shared_ptr<State> state_ = std::make_shared<State>();  // shared with the callback
};

// Runs blocking `work` on the pool and comes back to the event loop; what it throws is thrown here.
awaitable<void> run_on(boost::asio::thread_pool& pool, std::function<void()> work);

}  // namespace rotulus::coordinator::http
