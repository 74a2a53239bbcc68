// The one pool of threads that kernels share. Workers spin briefly before they sleep: a blocking wake-up costs 40 us.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>

namespace rotulus::kernels {

// Threads: parallel_for is called by one thread at a time (the owner of the backend); the caller works too.
class ThreadPool final {
 public:
  explicit ThreadPool(std::size_t thread_count);  // >= 1, the caller included
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  std::size_t thread_count() const noexcept;

  // Calls task(index, thread) once for each index in [0, count), thread in [0, thread_count()). Pieces are taken
  // dynamically, so nothing that a task computes may depend on `thread` but its scratch memory. Returns when all are
  // done. `between` (may be empty) is called by the caller's thread between its pieces and while it waits, at
  // least once.
  void parallel_for(std::size_t count, const std::function<void(std::size_t index, std::size_t thread)>& task,
                    const std::function<void()>& between = {});

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace rotulus::kernels
