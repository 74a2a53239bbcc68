// A thread that handles messages one after the other, in the order in which they were put.
#pragma once

#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <utility>

#include "protocol/messages.h"

namespace rotulus::worker {

class ServiceQueue final {
 public:
  // `handle` is called on the thread; `on_handled` after it, with the size given to put(); `on_error` with the words of
  // what `handle` threw, after which nothing more is handled.
  ServiceQueue(std::function<void(protocol::Message)> handle, std::function<void(std::size_t)> on_handled,
               std::function<void(const std::string&)> on_error)
      : handle_(std::move(handle)),
        on_handled_(std::move(on_handled)),
        on_error_(std::move(on_error)),
        thread_([this](std::stop_token stop) { run(stop); }) {}

  void put(protocol::Message message, std::size_t bytes) {
    const std::lock_guard lock(mutex_);
    queue_.emplace_back(std::move(message), bytes);
    arrived_.notify_one();
  }

  // Ends after the message that is being handled; what is queued is dropped.
  void stop() {
    thread_.request_stop();
    if (thread_.joinable()) thread_.join();
  }

 private:
  void run(std::stop_token stop) {
    std::unique_lock lock(mutex_);
    while (arrived_.wait(lock, stop, [&] { return !queue_.empty(); }) && !stop.stop_requested()) {
      auto [message, bytes] = std::move(queue_.front());
      queue_.pop_front();
      lock.unlock();
      try {
        handle_(std::move(message));
      } catch (const std::exception& error) {
        return on_error_(error.what());
      }
      on_handled_(bytes);
      lock.lock();
    }
  }

  const std::function<void(protocol::Message)> handle_;
  const std::function<void(std::size_t)> on_handled_;
  const std::function<void(const std::string&)> on_error_;
  std::mutex mutex_;
  std::condition_variable_any arrived_;
  std::deque<std::pair<protocol::Message, std::size_t>> queue_;
  std::jthread thread_;  // last: it uses the others
};

}  // namespace rotulus::worker
