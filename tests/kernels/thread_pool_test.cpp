#include "kernels/thread_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

namespace rotulus::kernels {
namespace {

TEST(ThreadPool, RunsEveryPieceOnceAndReturnsAfterAll) {
  for (const std::size_t threads : {1u, 2u, 3u, 8u}) {
    ThreadPool pool(threads);
    EXPECT_EQ(pool.thread_count(), threads);
    for (const std::size_t count : {0u, 1u, 2u, 7u, 1000u}) {
      std::vector<std::atomic<int>> runs(count);
      pool.parallel_for(count, [&](std::size_t index, std::size_t thread) {
        EXPECT_LT(thread, threads);
        runs[index].fetch_add(1);
      });
      for (const auto& run : runs) EXPECT_EQ(run.load(), 1);
    }
  }
}

// Short calls one after another: a worker that is late for one must not take pieces of the next twice or never.
TEST(ThreadPool, LosesNoPieceOfManyShortCalls) {
  ThreadPool pool(4);
  std::uint64_t expected = 0;
  std::atomic<std::uint64_t> sum{0};
  for (std::size_t call = 0; call < 20000; ++call) {
    const std::size_t count = call % 5;
    for (std::size_t index = 0; index < count; ++index) expected += index + call;
    pool.parallel_for(count, [&](std::size_t index, std::size_t) { sum.fetch_add(index + call); });
  }
  EXPECT_EQ(sum.load(), expected);
}

// What pieces write without any lock is visible to the caller afterwards, and to the pieces of the next call.
TEST(ThreadPool, HandsMemoryFromCallToCall) {
  ThreadPool pool(3);
  std::vector<std::size_t> values(64, 0);
  for (std::size_t call = 1; call <= 500; ++call) {
    pool.parallel_for(values.size(), [&](std::size_t index, std::size_t) { values[index] += call; });
    for (const std::size_t value : values) ASSERT_EQ(value, call * (call + 1) / 2);
  }
}

// Workers that have gone to sleep are woken.
TEST(ThreadPool, WakesWorkersThatSleep) {
  ThreadPool pool(2);
  for (int round = 0; round < 5; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));  // longer than the pool spins
    // Two pieces that wait for each other need two threads.
    std::atomic<int> arrived{0};
    pool.parallel_for(2, [&](std::size_t, std::size_t) {
      arrived.fetch_add(1);
      while (arrived.load() < 2) std::this_thread::yield();
    });
    EXPECT_EQ(arrived.load(), 2);
  }
}

TEST(ThreadPool, CallsBetweenOnTheCallersThreadAndWhileItWaits) {
  ThreadPool pool(2);
  const auto caller = std::this_thread::get_id();
  std::atomic<bool> may_end{false};
  std::size_t calls = 0;
  pool.parallel_for(
      2,
      [&](std::size_t, std::size_t) {
        if (std::this_thread::get_id() == caller) return;
        while (!may_end.load()) std::this_thread::yield();
      },
      [&] {
        EXPECT_EQ(std::this_thread::get_id(), caller);
        if (++calls >= 3) may_end.store(true);
      });
  EXPECT_GE(calls, 3u);  // twice between pieces and once at the end, or while the other thread waits for it
}

TEST(ThreadPool, EndsAtOnceWithoutEverHavingWorked) {
  for (int i = 0; i < 50; ++i) ThreadPool pool(4);
}

}  // namespace
}  // namespace rotulus::kernels
