#include "memory_store/reader_pool.h"

#include <algorithm>
#include <utility>

namespace rotulus::memory_store {

ReaderPool::ReaderPool(std::size_t threads, std::function<bool()> read_ahead) : read_ahead_(std::move(read_ahead)) {
  for (std::size_t i = 0; i < threads; ++i) threads_.emplace_back([this] { serve(); });
}

ReaderPool::~ReaderPool() {
  {
    const std::lock_guard lock(mutex_);
    is_stopping_ = true;
  }
  work_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void ReaderPool::run(std::size_t count, const std::function<void(std::size_t)>& read) {
  std::unique_lock lock(mutex_);
  read_ = &read;
  next_ = 0;
  count_ = unfinished_ = count;
  if (count > 1) work_.notify_all();
  take_turns(lock);
  done_.wait(lock, [&] { return unfinished_ == 0; });
}

void ReaderPool::wake() {
  {
    const std::lock_guard lock(mutex_);
    ++wakes_;
  }
  work_.notify_all();
}

void ReaderPool::serve() {
  std::unique_lock lock(mutex_);
  while (true) {
    work_.wait(lock, [&] { return is_stopping_ || next_ < count_ || wakes_served_ < wakes_; });
    if (is_stopping_) return;
    take_turns(lock);
    if (wakes_served_ == wakes_) continue;
    const std::uint64_t wake = wakes_;
    lock.unlock();
    const bool has_more = read_ahead_();
    lock.lock();
    if (!has_more) wakes_served_ = std::max(wakes_served_, wake);
  }
}

void ReaderPool::take_turns(std::unique_lock<std::mutex>& lock) {
  while (next_ < count_) {
    const std::size_t index = next_++;
    lock.unlock();
    (*read_)(index);
    lock.lock();
    if (--unfinished_ == 0) done_.notify_one();
  }
}

}  // namespace rotulus::memory_store
