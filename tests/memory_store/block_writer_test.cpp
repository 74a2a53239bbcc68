// The writer over a volume that can be held back and can be made to fail.
#include "memory_store/block_writer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <condition_variable>
#include <mutex>

#include "protocol/limits.h"
#include "tests/memory_store/support.h"

namespace rotulus::memory_store {
namespace {

using protocol::Error;
using protocol::ErrorCode;

constexpr VolumeId kVolume{5};

class GatedVolume final : public Volume {
 public:
  protocol::VolumeState state() const override { return {.volume = kVolume}; }
  void write(std::span<const Block> blocks) override {
    std::unique_lock lock(mutex_);
    ++waiting_;
    changed_.notify_all();
    changed_.wait(lock, [&] { return is_open_; });
    --waiting_;
    if (fails_) throw Error(ErrorCode::storage_full, "as the test wants it");
    std::size_t bytes = 0;
    for (const Block& block : blocks) {
      written.push_back(block.address);
      bytes += sizeof(block.header) + block.payload.size();
    }
    batch_bytes.push_back(bytes);
  }
  void commit(ObjectId, std::span<const std::byte>, std::uint64_t) override {}
  std::optional<std::string> read(const BlockAddress&, BlockHeader&, std::span<std::byte>) const override {
    return "is absent";
  }
  std::optional<std::vector<std::byte>> manifest(ObjectId) const override { return std::nullopt; }
  std::vector<ObjectId> objects() const override { return {}; }
  bool contains(ObjectId) const override { return true; }
  void erase(std::span<const ObjectId> objects) override {
    const std::lock_guard lock(mutex_);
    erased.insert(erased.end(), objects.begin(), objects.end());
    changed_.notify_all();
  }
  void remember(protocol::StoreId, std::uint64_t) override {}

  void open_gate(bool fails) {
    const std::lock_guard lock(mutex_);
    is_open_ = true;
    fails_ = fails;
    changed_.notify_all();
  }
  void wait_for_writer() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return waiting_ > 0; });
  }
  void wait_for_erasure(ObjectId object) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return std::find(erased.begin(), erased.end(), object) != erased.end(); });
  }

  std::vector<BlockAddress> written;
  std::vector<std::size_t> batch_bytes;
  std::vector<ObjectId> erased;

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool is_open_ = false;
  bool fails_ = false;
  int waiting_ = 0;
};

struct Fixture {
  explicit Fixture(std::size_t host_blocks, const kernels::KvFormat& kv_format = small_format())
      : format{.kv = kv_format, .landmark_bytes = kLandmarkBytes},
        host(tier(kv_format.block_bytes(), host_blocks), tier(kLandmarkSlotBytes, kHostLandmarks)) {
    auto gated = std::make_unique<GatedVolume>();
    volume = gated.get();
    volumes[kVolume].volume = std::move(gated);
    volumes[kVolume].is_accepted = true;
    writer.emplace(host, volumes, format, std::chrono::seconds(60));
  }
  static HostTierConfig tier(std::size_t slot_bytes, std::size_t slots) {
    return {.block_bytes = slot_bytes,
            .budget_bytes = slots * slot_bytes,
            .write_timeout = std::chrono::seconds(60),
            .budget_field = {},
            .budget_flag = {}};
  }
  void write(const BlockAddress& address) {
    writer->block_for_writing(address);
    writer->seal(address);
  }

  static constexpr std::size_t kHostLandmarks = 4;
  const BlockFormat format;
  VolumeSet volumes;
  GatedVolume* volume = nullptr;
  HostTiers host;
  std::optional<BlockWriter> writer;
};

TEST(BlockWriter, WritesInTheOrderOfSealingInBatchesWithinTheLimit) {
  // Blocks of 1 MiB, so that a batch holds seven.
  Fixture fixture(40, {.type = kernels::KvType::f32, .kv_heads = 8, .head_dim = 128});
  std::vector<BlockAddress> sealed;
  for (std::uint32_t block = 0; block < 30; ++block) {
    sealed.push_back({.object = {1}, .layer = block % 2, .block = block, .volume = kVolume});
    fixture.write(sealed.back());
  }
  fixture.volume->wait_for_writer();
  fixture.volume->open_gate(false);
  EXPECT_EQ(fixture.writer->finish({1}, kVolume).count(), 30u);
  EXPECT_EQ(fixture.volume->written, sealed);
  EXPECT_GE(fixture.volume->batch_bytes.size(), 30u / 7);
  for (const std::size_t bytes : fixture.volume->batch_bytes) EXPECT_LE(bytes, protocol::kMaxWriteBatchBytes);
  EXPECT_EQ(*std::max_element(fixture.volume->batch_bytes.begin(), fixture.volume->batch_bytes.end()),
            7 * (fixture.format.kv.block_bytes() + sizeof(BlockHeader)));
  EXPECT_EQ(fixture.host.kv.usage().pinned_bytes, 0u);
}

TEST(BlockWriter, KeepsAFailedObjectFailedAndItsPlaceInMemoryFree) {
  Fixture fixture(8);
  for (std::uint32_t block = 0; block < 6; ++block) {
    fixture.write({.object = {1}, .layer = 0, .block = block, .volume = kVolume});
  }
  fixture.volume->wait_for_writer();
  fixture.volume->open_gate(true);
  EXPECT_EQ(catch_error([&] { fixture.writer->finish({1}, kVolume); }).code(), ErrorCode::storage_full);
  const BlockAddress next{.object = {1}, .layer = 0, .block = 6, .volume = kVolume};
  EXPECT_EQ(catch_error([&] { fixture.writer->block_for_writing(next); }).code(), ErrorCode::storage_full);
  EXPECT_TRUE(fixture.volume->written.empty());
  // Another object has the whole memory.
  fixture.volume->open_gate(false);
  for (std::uint32_t block = 0; block < 8; ++block) {
    fixture.write({.object = {2}, .layer = 0, .block = block, .volume = kVolume});
  }
  EXPECT_EQ(fixture.writer->finish({2}, kVolume).count(), 8u);
  fixture.writer->abandon({1});
  fixture.volume->wait_for_erasure({1});
  EXPECT_FALSE(fixture.writer->failure({1}));
}

TEST(BlockWriter, WritesNothingOfAnAbandonedObjectAfterItErasedIt) {
  Fixture fixture(40);
  for (std::uint32_t block = 0; block < 30; ++block) {
    fixture.write({.object = {1 + block % 2}, .layer = 0, .block = block, .volume = kVolume});
    if (block == 0) fixture.volume->wait_for_writer();  // the first is on its way, the others wait
  }
  fixture.writer->block_for_writing({.object = {1}, .layer = 1, .block = 0, .volume = kVolume});  // stays open
  fixture.writer->abandon({1});
  fixture.volume->open_gate(false);
  fixture.volume->wait_for_erasure({1});
  EXPECT_EQ(fixture.writer->finish({2}, kVolume).count(), 15u);
  std::size_t of_abandoned = 0;
  for (const BlockAddress& address : fixture.volume->written) of_abandoned += address.object == ObjectId{1};
  EXPECT_EQ(of_abandoned, 1u);
  EXPECT_EQ(fixture.volume->erased, std::vector<ObjectId>{{1}});
  EXPECT_EQ(fixture.host.kv.usage().pinned_bytes, 0u);
}

BlockAddress landmarks_of(std::uint64_t object, std::uint32_t stripe) {
  return {.object = {object}, .layer = 0, .block = 4 * stripe, .volume = kVolume, .kind = BlockKind::landmarks};
}

TEST(BlockWriter, WritesLandmarksBehindTheBlocksOfTheirObject) {
  Fixture fixture(40);
  fixture.volume->open_gate(false);
  for (std::uint32_t block = 0; block < 12; ++block) {
    if (block % 4 == 0) fixture.write(landmarks_of(1, block / 4));
    fixture.write({.object = {1}, .layer = 0, .block = block, .volume = kVolume});
  }
  EXPECT_EQ(fixture.writer->finish({1}, kVolume).count(), 15u);
  const auto& written = fixture.volume->written;
  ASSERT_EQ(written.size(), 15u);
  for (std::size_t i = 0; i < written.size(); ++i) {
    EXPECT_EQ(written[i].kind, i < 12 ? BlockKind::kv : BlockKind::landmarks) << i;
  }
  EXPECT_EQ(fixture.host.landmarks->usage().pinned_bytes, 0u);
}

TEST(BlockWriter, WritesWaitingLandmarksWhereTheirPlaceIsWanted) {
  Fixture fixture(40);
  fixture.volume->open_gate(false);
  for (std::uint32_t stripe = 0; stripe < Fixture::kHostLandmarks; ++stripe) fixture.write(landmarks_of(1, stripe));
  EXPECT_EQ(fixture.host.landmarks->usage().pinned_bytes, Fixture::kHostLandmarks * kLandmarkSlotBytes);
  fixture.write(landmarks_of(2, 0));
  EXPECT_EQ(fixture.volume->written.front(), landmarks_of(1, 0));
  EXPECT_EQ(fixture.writer->finish({1}, kVolume).count(), Fixture::kHostLandmarks);
  // An abandoned object leaves its landmarks' places free, and none of them is written later.
  fixture.writer->abandon({2});
  fixture.volume->wait_for_erasure({2});
  EXPECT_EQ(fixture.host.landmarks->usage().pinned_bytes, 0u);
  for (const BlockAddress& address : fixture.volume->written) EXPECT_EQ(address.object, ObjectId{1});
}

TEST(BlockWriter, GivesTheSameHashForTheSameBlocksInAnyOrderOfSealing) {
  std::vector<std::uint64_t> hashes;
  for (const bool is_reversed : {false, true}) {
    Fixture fixture(40);
    fixture.volume->open_gate(false);
    for (std::uint32_t i = 0; i < 12; ++i) {
      const std::uint32_t index = is_reversed ? 11 - i : i;
      const BlockAddress address{.object = {1}, .layer = index % 3, .block = index / 3, .volume = kVolume};
      fill(fixture.writer->block_for_writing(address), address);
      fixture.writer->seal(address);
    }
    hashes.push_back(fixture.writer->finish({1}, kVolume).value());
  }
  EXPECT_EQ(hashes[0], hashes[1]);
}

}  // namespace
}  // namespace rotulus::memory_store
