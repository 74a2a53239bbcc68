// The engine's thread writes, commits and pins while a service thread reconciles, erases, lists and asks for numbers.
// Run under ThreadSanitizer as well.
#include <gtest/gtest.h>

#include <atomic>
#include <deque>
#include <mutex>
#include <thread>

#include "protocol/error.h"
#include "tests/memory_store/support.h"

namespace rotulus::memory_store {
namespace {

using Live = protocol::ReconcileVolume::Live;

struct Shared {
  std::mutex mutex;
  std::deque<Live> live;  // committed and not erased, oldest first
};

void serve(KvStore& store, VolumeId volume, Shared& shared, const std::atomic<bool>& is_over) {
  std::uint64_t round = 0;
  while (!is_over) {
    std::vector<Live> live;
    ObjectId erased;
    {
      const std::lock_guard lock(shared.mutex);
      if (shared.live.size() > 6) {
        erased = shared.live.front().object;
        shared.live.pop_front();
      }
      live.assign(shared.live.begin(), shared.live.end());
    }
    if (erased) store.erase({&erased, 1}, 1u << 20);
    const auto stats = store.stats();
    EXPECT_LE(stats.host_bytes_used, stats.host_bytes_budget);
    EXPECT_EQ(store.volumes().size(), 1u);
    EXPECT_TRUE(store.failed_volumes().empty());
    if (++round % 4 != 0) continue;
    EXPECT_GE(store.manifests(volume).size(), live.size());
  }
}

TEST(Threads, OfEngineAndServiceDoNotDisturbEachOther) {
  const TemporaryDirectory directory;
  const auto store = open_store(make_config(directory / "v", 40));
  const VolumeId volume = only_volume(*store);
  store->reconcile(volume, kStore, 1, {});
  Shared shared;
  std::atomic<bool> is_over = false;
  std::thread service([&] { serve(*store, volume, shared, is_over); });
  std::size_t wrong = 0, right = 0, erased = 0;
  for (std::uint64_t id = 1; id <= 60; ++id) {
    const TestObject object{.id = {id}, .blocks = 1 + static_cast<std::uint32_t>(id % 5)};
    const std::uint64_t hash = write_object(*store, object, volume, id);
    const std::lock_guard lock(shared.mutex);
    shared.live.push_back({object.id, hash});
    // Reads of the newest and of one that may be erased at this moment.
    for (const std::uint64_t wanted : {id, id > 5 ? id - 5 : id}) {
      const TestObject other{.id = {wanted}, .blocks = 1 + static_cast<std::uint32_t>(wanted % 5)};
      const auto addresses = other.addresses(volume);
      try {
        const PinnedBlocks pinned = store->pin(addresses);
        for (std::size_t i = 0; i < addresses.size(); ++i) {
          ++(is_filled(pinned[i], addresses[i]) ? right : wrong);
        }
      } catch (const protocol::Error& error) {
        EXPECT_EQ(error.code(), protocol::ErrorCode::not_found) << error.message();
        ++erased;
      }
    }
  }
  is_over = true;
  service.join();
  EXPECT_EQ(wrong, 0u);
  EXPECT_GT(right, 60u);
  EXPECT_EQ(store->stats().blocks_corrupt, 0u);
}

// A reconcile in the midst of writing takes neither what is being written nor what was committed since it began.
TEST(Threads, ReconcileLeavesWhatIsBeingWritten) {
  const TemporaryDirectory directory;
  const auto store = open_store(make_config(directory / "v", 40));
  const VolumeId volume = only_volume(*store);
  store->reconcile(volume, kStore, 1, {});
  std::atomic<bool> is_over = false;
  std::mutex mutex;
  std::vector<Live> live;
  std::thread service([&] {
    while (!is_over) {
      const std::lock_guard lock(mutex);  // the catalogue names a chunk in the same breath in which it is committed
      store->reconcile(volume, kStore, 1u << 20, live);
    }
  });
  for (std::uint64_t id = 1; id <= 40; ++id) {
    const TestObject object{.id = {id}, .blocks = 3};
    write_blocks(*store, object, volume);
    const std::lock_guard lock(mutex);
    live.push_back({object.id, store->commit(make_record(object, volume), 1u << 20)});
  }
  is_over = true;
  service.join();
  for (std::uint64_t id = 1; id <= 40; ++id) {
    EXPECT_EQ(read_object(*store, {.id = {id}, .blocks = 3}, volume).right, 3 * kLayers) << id;
  }
}

}  // namespace
}  // namespace rotulus::memory_store
