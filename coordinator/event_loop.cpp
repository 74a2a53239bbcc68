#include "coordinator/event_loop.h"

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/thread_pool.hpp>
#include <utility>

namespace rotulus::coordinator {
namespace {

class AsioEventLoop final : public EventLoop {
 public:
  AsioEventLoop(boost::asio::io_context& io, boost::asio::thread_pool& files) : io_(io), files_(files) {}

  void post(std::function<void()> task) override { boost::asio::post(io_, std::move(task)); }

  Timer after(std::chrono::milliseconds delay, std::function<void()> task) override {
    // The handler holds a weak reference: a handler that is already queued when the timer is destroyed does nothing.
    auto timer = std::make_shared<boost::asio::steady_timer>(io_, delay);
    timer->async_wait([alive = std::weak_ptr(timer), task = std::move(task)](boost::system::error_code error) {
      const auto keep = alive.lock();
      if (!error && keep) task();
    });
    return timer;
  }

  void in_background(std::function<void()> work, std::function<void(std::optional<protocol::Error>)> done) override {
    auto guard = boost::asio::make_work_guard(io_);
    boost::asio::post(files_, [this, guard, work = std::move(work), done = std::move(done)] {
      std::optional<protocol::Error> error;
      try {
        work();
      } catch (const protocol::Error& thrown) {
        error = thrown;
      }
      boost::asio::post(io_, [done, error] { done(error); });
    });
  }

  std::chrono::steady_clock::time_point now() const override { return std::chrono::steady_clock::now(); }

  std::int64_t unix_ms() const override {
    const auto since_epoch = std::chrono::system_clock::now().time_since_epoch();
    return std::chrono::duration_cast<std::chrono::milliseconds>(since_epoch).count();
  }

 private:
  boost::asio::io_context& io_;
  boost::asio::thread_pool& files_;
};

}  // namespace

std::unique_ptr<EventLoop> make_event_loop(boost::asio::io_context& io, boost::asio::thread_pool& files) {
  return std::make_unique<AsioEventLoop>(io, files);
}

}  // namespace rotulus::coordinator
