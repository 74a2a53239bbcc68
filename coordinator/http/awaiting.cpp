#include "coordinator/http/awaiting.h"

#include <fmt/format.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "protocol/error.h"

namespace rotulus::coordinator::http {

namespace asio = boost::asio;

class Wakeup::State {
 public:
  void notify() {
    is_notified_ = true;
    if (timer_) timer_->cancel();
  }

  awaitable<void> wait(std::chrono::milliseconds at_most) {
    if (!is_notified_) {
      timer_.emplace(co_await asio::this_coro::executor, at_most);
      boost::system::error_code cancelled;
      co_await timer_->async_wait(asio::redirect_error(asio::use_awaitable, cancelled));
      timer_.reset();
    }
    is_notified_ = false;
  }

 private:
  bool is_notified_ = false;
  std::optional<asio::steady_timer> timer_;
};

Wakeup::Wakeup() : state_(std::make_shared<State>()) {}
Wakeup::~Wakeup() = default;

void Wakeup::notify() {
  state_->notify();
}

awaitable<void> Wakeup::wait(std::chrono::milliseconds at_most) {
  const auto state = state_;
  co_await state->wait(at_most);
}

void throw_no_answer(std::string_view from) {
  throw protocol::Error(protocol::ErrorCode::deadline_exceeded,
                        fmt::format("No answer from {} in time; try again.", from));
}

namespace {

awaitable<void> run(const std::function<void()>& work) {
  work();
  co_return;
}

}  // namespace

awaitable<void> run_on(asio::thread_pool& pool, std::function<void()> work) {
  co_await asio::co_spawn(pool, run(work), asio::use_awaitable);
}

}  // namespace rotulus::coordinator::http
