// Blocks that were read before they are asked for: the same bytes, found in memory; and never in anybody's way.
#include <gtest/gtest.h>

#include <chrono>
#include <cstring>
#include <fstream>
#include <functional>
#include <random>
#include <thread>

#include "memory_store/tiers/host/host_tier.h"
#include "protocol/error.h"
#include "tests/memory_store/support.h"

namespace rotulus::memory_store {
namespace {

namespace fs = std::filesystem;

bool eventually(const std::function<bool()>& is_so) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (!is_so() && std::chrono::steady_clock::now() < deadline) std::this_thread::yield();
  return is_so();
}

// A store in which nothing is in memory, over a volume with one object.
class Prefetch : public testing::Test {
 protected:
  void open(std::size_t host_blocks) {
    store_.reset();
    store_ = open_store(make_config(directory_ / "volume", host_blocks));
    volume_ = only_volume(*store_);
  }
  void SetUp() override {
    open(64);
    store_->reconcile(volume_, kStore, 1, {});
    write_object(*store_, object_, volume_);
    open(64);
    addresses_ = object_.addresses(volume_);
  }
  std::vector<BlockAddress> some(std::size_t first, std::size_t count) const {
    const auto begin = addresses_.begin() + static_cast<std::ptrdiff_t>(first);
    return {begin, begin + static_cast<std::ptrdiff_t>(count)};
  }
  bool wait_for_loads(std::uint64_t count) {
    return eventually([&] { return store_->stats().blocks_loaded == count; });
  }
  void expect_right(std::span<const BlockAddress> asked) {
    const PinnedBlocks pinned = store_->pin(asked);
    for (std::size_t i = 0; i < asked.size(); ++i) EXPECT_TRUE(is_filled(pinned[i], asked[i])) << to_string(asked[i]);
  }

  const TemporaryDirectory directory_{TemporaryDirectory::Place::memory};
  const TestObject object_{.id = {1}, .blocks = 8};
  std::unique_ptr<KvStore> store_;
  VolumeId volume_;
  std::vector<BlockAddress> addresses_;
};

TEST_F(Prefetch, BringsBlocksThatAreThenNotReadAgain) {
  store_->prefetch(some(0, 6));
  ASSERT_TRUE(wait_for_loads(6));
  EXPECT_TRUE(eventually([&] { return store_->stats().host_bytes_pinned == 0; }));
  store_->prefetch(some(0, 6));  // they are there
  expect_right(some(0, 6));
  const KvStore::Stats stats = store_->stats();
  EXPECT_EQ(stats.blocks_loaded, 6u);
  EXPECT_EQ(stats.blocks_verified, 6u);
  EXPECT_EQ(stats.prefetched_used, 6u);
  EXPECT_EQ(stats.prefetched_unused, 0u);
}

// Whatever is under way when they are asked for: none is read twice.
TEST_F(Prefetch, AndTheOneWhoAsksMeanwhileReadNoBlockTwice) {
  for (int round = 0; round < 20; ++round) {
    open(64);
    store_->prefetch(addresses_);
    expect_right(addresses_);
    EXPECT_EQ(store_->stats().blocks_loaded, addresses_.size());
  }
}

TEST_F(Prefetch, KeepsNoMoreThanHalfOfMemoryAndGivesWayToWhatIsAskedFor) {
  open(8);
  store_->prefetch(addresses_);
  ASSERT_TRUE(wait_for_loads(4));
  expect_right(some(16, 8));  // all of it
  const KvStore::Stats stats = store_->stats();
  EXPECT_EQ(stats.blocks_loaded, 12u);
  EXPECT_EQ(stats.prefetched_unused, 4u);
}

TEST_F(Prefetch, NeverDrivesOutWhatIsPinnedNorWhatIsWantedNext) {
  open(8);
  const auto pinned_addresses = some(0, 4);
  const PinnedBlocks pinned = store_->pin(pinned_addresses);
  expect_right(some(4, 2));
  store_->prefetch(some(4, 6));  // two are there: they stay, though least recently used
  ASSERT_TRUE(wait_for_loads(8));
  for (std::size_t i = 0; i < 4; ++i) EXPECT_TRUE(is_filled(pinned[i], pinned_addresses[i]));
  expect_right(some(4, 4));
  EXPECT_EQ(store_->stats().blocks_loaded, 8u);
}

TEST_F(Prefetch, IsDroppedWhenNothingIsWantedAnyMore) {
  store_->prefetch(addresses_);
  store_->prefetch({});  // waits for what is under way
  const std::uint64_t read = store_->stats().blocks_loaded;
  EXPECT_EQ(store_->stats().host_bytes_pinned, 0u);
  expect_right(addresses_);
  EXPECT_EQ(store_->stats().blocks_loaded, addresses_.size());
  EXPECT_EQ(store_->stats().prefetched_used, read);
}

TEST_F(Prefetch, LeavesADamagedBlockToTheOneWhoAsksForIt) {
  store_.reset();
  open(64);  // a second life writes what was in the log into tables
  store_.reset();
  const BlockAddress damaged = addresses_[7];
  std::string payload(payload_bytes(damaged), '\0');
  fill(reinterpret_cast<std::byte*>(payload.data()), damaged);
  for (const auto& entry : fs::recursive_directory_iterator(directory_ / "volume")) {
    if (entry.path().extension() != ".sst") continue;
    std::fstream file(entry.path(), std::ios::in | std::ios::out | std::ios::binary);
    const std::string bytes{std::istreambuf_iterator<char>(file), {}};
    const std::size_t at = bytes.find(payload);
    if (at == std::string::npos) continue;
    file.seekp(static_cast<std::streamoff>(at + 100));
    file.put(static_cast<char>(bytes[at + 100] ^ 1));
  }
  open(64);
  store_->prefetch(some(7, 1));
  EXPECT_TRUE(wait_for_loads(1));
  EXPECT_EQ(store_->stats().blocks_corrupt, 0u);
  EXPECT_EQ(catch_error([&] { store_->pin(some(7, 1)); }).code(), protocol::ErrorCode::storage_corrupt);
  EXPECT_EQ(store_->last_damage().address, damaged);
}

// Any order of wanting, asking, keeping and erasing, in little memory: what is handed out is what was written, and
// nothing that fits is refused.
TEST_F(Prefetch, NeverChangesWhatIsHandedOut) {
  open(12);
  std::mt19937 random(11);
  for (int round = 0; round < 400; ++round) {
    std::vector<BlockAddress> wanted, asked;
    for (std::size_t i = 0; i < 10; ++i) wanted.push_back(addresses_[random() % addresses_.size()]);
    for (std::size_t i = 0; i < 6; ++i) asked.push_back(addresses_[random() % addresses_.size()]);
    const PinnedBlocks held = store_->pin(asked);
    store_->prefetch(wanted);
    if (round % 2 == 0) expect_right(some(random() % 18, 6));
    for (std::size_t i = 0; i < asked.size(); ++i) ASSERT_TRUE(is_filled(held[i], asked[i]));
  }
  EXPECT_GT(store_->stats().prefetched_used, 0u);
}

}  // namespace
}  // namespace rotulus::memory_store
