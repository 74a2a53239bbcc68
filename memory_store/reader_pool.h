// Threads that read blocks from volumes. RocksDB reads one value at a time (no io_uring, no parallel MultiGet in the
// packaged build), so the depth of the disk's queue is the number of threads that ask.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace rotulus::memory_store {

class ReaderPool final {
 public:
  explicit ReaderPool(std::size_t threads);
  ~ReaderPool();

  // Runs read(i) for every i < count, on the pool's threads and the caller's; returns when all are done.
  // `read` does not throw. One caller at a time.
  void run(std::size_t count, const std::function<void(std::size_t)>& read);

 private:
  void serve();
  void take_turns(std::unique_lock<std::mutex>& lock);

  std::mutex mutex_;
  std::condition_variable work_;
  std::condition_variable done_;
  const std::function<void(std::size_t)>* read_ = nullptr;
  std::size_t next_ = 0;
  std::size_t count_ = 0;
  std::size_t unfinished_ = 0;
  bool is_stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace rotulus::memory_store
