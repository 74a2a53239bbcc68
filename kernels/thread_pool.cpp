#include "kernels/thread_pool.h"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <limits>
#include <mutex>
#include <thread>
#include <vector>

#include "kernels/check.h"

namespace rotulus::kernels {
namespace {

using Task = std::function<void(std::size_t, std::size_t)>;

// Long enough to bridge the caller's work between two verbs, short enough to leave a core to others.
constexpr std::chrono::microseconds kSpin{60};

void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  std::this_thread::yield();
#endif
}

// Polls `ready` for a short while; true as soon as it holds.
template <typename Ready>
bool spin_until(const Ready& ready) {
  const auto end = std::chrono::steady_clock::now() + kSpin;
  do {
    for (int i = 0; i < 32; ++i) {
      if (ready()) return true;
      relax();
    }
  } while (std::chrono::steady_clock::now() < end);
  return false;
}

}  // namespace

// Invariants:
//   1. ticket = (generation << 32) | pieces not yet taken. A piece is taken by decrementing it, so a worker that comes
//      late finds nothing left of the generation that it saw, and can never take a piece of a later one unknowingly.
//   2. task and count are written before the ticket of their generation, and only when no piece is pending; whoever
//      holds a piece may read them.
struct ThreadPool::State {
  std::atomic<std::uint64_t> ticket{0};
  std::atomic<std::size_t> pending{0};
  std::atomic<std::size_t> sleepers{0};
  std::atomic<bool> caller_sleeps{false};
  std::atomic<bool> stopping{false};
  const Task* task = nullptr;
  std::size_t count = 0;
  std::mutex mutex;
  std::condition_variable work_announced;
  std::condition_variable work_done;
  std::vector<std::thread> workers;

  // Takes one piece of the current generation and runs it; false when none is left.
  bool run_one(std::size_t thread) {
    std::uint64_t seen = ticket.load(std::memory_order_acquire);
    do {
      if ((seen & 0xffffffffu) == 0) return false;
    } while (!ticket.compare_exchange_weak(seen, seen - 1, std::memory_order_acq_rel, std::memory_order_acquire));
    (*task)(count - (seen & 0xffffffffu), thread);
    if (pending.fetch_sub(1) == 1 && caller_sleeps.load()) {
      const std::lock_guard lock(mutex);
      work_done.notify_one();
    }
    return true;
  }

  bool has_work() const { return (ticket.load() & 0xffffffffu) != 0 || stopping.load(); }

  void work(std::size_t thread) {
    while (!stopping.load()) {
      while (run_one(thread)) {
      }
      if (spin_until([&] { return has_work(); })) continue;
      std::unique_lock lock(mutex);
      sleepers.fetch_add(1);
      work_announced.wait(lock, [&] { return has_work(); });
      sleepers.fetch_sub(1);
    }
  }

  void announce(const Task& new_task, std::size_t new_count) {
    task = &new_task;
    count = new_count;
    pending.store(new_count);
    const std::uint64_t generation = (ticket.load() >> 32) + 1;
    ticket.store(generation << 32 | new_count);
    if (sleepers.load() == 0) return;
    const std::lock_guard lock(mutex);
    work_announced.notify_all();
  }

  void wait_until_done(const std::function<void()>& between) {
    const auto done = [&] { return pending.load() == 0; };
    if (between) {
      do {
        between();
        if (!done()) std::this_thread::yield();
      } while (!done());
      return;
    }
    if (spin_until(done)) return;
    std::unique_lock lock(mutex);
    caller_sleeps.store(true);
    work_done.wait(lock, done);
    caller_sleeps.store(false);
  }
};

ThreadPool::ThreadPool(std::size_t thread_count) : state_(std::make_unique<State>()) {
  KERNELS_CHECK(thread_count >= 1, thread_count);
  for (std::size_t thread = 1; thread < thread_count; ++thread) {
    state_->workers.emplace_back([state = state_.get(), thread] { state->work(thread); });
  }
}

ThreadPool::~ThreadPool() {
  state_->stopping.store(true);
  {
    const std::lock_guard lock(state_->mutex);
    state_->work_announced.notify_all();
  }
  for (std::thread& worker : state_->workers) worker.join();
}

std::size_t ThreadPool::thread_count() const noexcept {
  return state_->workers.size() + 1;
}

void ThreadPool::parallel_for(std::size_t count, const Task& task, const std::function<void()>& between) {
  KERNELS_CHECK(count < std::numeric_limits<std::uint32_t>::max(), count);
  if (count <= 1 || state_->workers.empty()) {
    for (std::size_t index = 0; index < count; ++index) {
      task(index, 0);
      if (between) between();
    }
    return;
  }
  state_->announce(task, count);
  while (state_->run_one(0)) {
    if (between) between();
  }
  state_->wait_until_done(between);
}

}  // namespace rotulus::kernels
