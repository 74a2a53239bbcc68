// Threads that read blocks from volumes. RocksDB reads one value at a time (no io_uring, no parallel MultiGet in the
// packaged build), so the depth of the disk's queue is the number of threads that ask.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace rotulus::memory_store {

class ReaderPool final {
 public:
  // `read_ahead` is called by the pool's threads while run() has nothing for them, again and again until it returns
  // false, and anew after wake().
  ReaderPool(std::size_t threads, std::function<bool()> read_ahead);
  ~ReaderPool();

  // Runs read(i) for every i < count, on the pool's threads and the caller's; returns when all are done.
  // `read` does not throw. One caller at a time.
  void run(std::size_t count, const std::function<void(std::size_t)>& read);
  void wake();

 private:
  void serve();
  void take_turns(std::unique_lock<std::mutex>& lock);

  const std::function<bool()> read_ahead_;
  std::mutex mutex_;
  std::condition_variable work_;
  std::condition_variable done_;
  const std::function<void(std::size_t)>* read_ = nullptr;
  std::size_t next_ = 0;
  std::size_t count_ = 0;
  std::size_t unfinished_ = 0;
  std::uint64_t wakes_ = 0;
  std::uint64_t wakes_served_ = 0;  // read_ahead has returned false since
  bool is_stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace rotulus::memory_store
