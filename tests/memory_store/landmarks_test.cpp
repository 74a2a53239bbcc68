// Landmarks through the store's face: blocks of their own size and budget, and part of the same durable object.
#include <gtest/gtest.h>

#include "memory_store/kv_store.h"
#include "protocol/error.h"
#include "tests/memory_store/support.h"

namespace rotulus::memory_store {
namespace {

using Live = protocol::ReconcileVolume::Live;
using protocol::ErrorCode;

constexpr std::size_t kHostLandmarks = 5;

// 17 blocks reach into five stripes: three times as many landmarks as there are places for.
TestObject long_object(std::uint64_t id) {
  return {.id = {id}, .blocks = 17, .has_landmarks = true};
}

TEST(Landmarks, AreEvictedLoadedAndFoundAgainWithTheirObject) {
  const TemporaryDirectory directory;
  const TestObject object = long_object(1);
  std::uint64_t hash = 0;
  VolumeId volume;
  {
    const auto store = open_store(make_config(directory / "v", 8, kHostLandmarks));
    volume = only_volume(*store);
    store->reconcile(volume, kStore, 1, {});
    hash = write_object(*store, object, volume);
    EXPECT_EQ(read_object(*store, object, volume).right, object.all(volume).size());
    EXPECT_EQ(store->stats().landmark_bytes_budget, kHostLandmarks * kLandmarkSlotBytes);
    EXPECT_LE(store->stats().landmark_bytes_used, kHostLandmarks * kLandmarkSlotBytes);
    EXPECT_EQ(store->stats().landmark_bytes_pinned, 0u);
  }
  const auto store = open_store(make_config(directory / "v", 8, kHostLandmarks));
  const auto result = store->reconcile(volume, kStore, 1, std::vector<Live>{{object.id, hash}});
  EXPECT_TRUE(result.damaged.empty());
  EXPECT_EQ(store->manifests(volume).at(0).first.block_count, (17 + 5) * kLayers);
  EXPECT_EQ(read_object(*store, object, volume).right, object.all(volume).size());
}

// Bounds and centroids beside landmarks, or without them, in the places of landmarks.
TEST(Landmarks, ShareTheirPlacesWithBoundsAndCentroids) {
  const TemporaryDirectory directory;
  std::vector<TestObject> objects(2, long_object(1));
  objects[0].has_bounds = objects[1].has_bounds = objects[0].has_centroids = objects[1].has_centroids = true;
  objects[1].id = {2};
  objects[1].has_landmarks = false;
  const auto store = open_store(make_config(directory / "v", 8, kHostLandmarks));
  const VolumeId volume = only_volume(*store);
  store->reconcile(volume, kStore, 1, {});
  for (const TestObject& object : objects) {
    const std::uint64_t hash = write_object(*store, object, volume);
    const std::size_t blocks = object.all(volume).size();
    EXPECT_EQ(blocks, (17 + (object.has_landmarks ? 15 : 10)) * kLayers);
    EXPECT_EQ(read_object(*store, object, volume).right, blocks);
    const Verification seen = store->verify(volume, object.id, hash);
    EXPECT_EQ(seen.blocks_verified, blocks);
    EXPECT_EQ(seen.blocks_damaged, 0u);
    EXPECT_LE(store->stats().landmark_bytes_used, kHostLandmarks * kLandmarkSlotBytes);
  }
}

TEST(Landmarks, AreZeroedInTheBeginningAndReadableWhileTheyFill) {
  const TemporaryDirectory directory;
  const auto store = open_store(make_config(directory / "v", 8, 1));
  const VolumeId volume = only_volume(*store);
  const BlockAddress first{.object = {1}, .layer = 2, .block = 8, .volume = volume, .kind = BlockKind::landmarks};
  fill(store->block_for_writing(first), first);
  store->abandon({1});
  BlockAddress address = first;
  address.object = {2};
  std::byte* bytes = store->block_for_writing(address);
  for (std::size_t i = 0; i < kLandmarkBytes; ++i) ASSERT_EQ(bytes[i], std::byte{0}) << i;
  EXPECT_EQ(store->block_for_writing(address), bytes);
  EXPECT_EQ(store->pin({&address, 1})[0], bytes);
  EXPECT_EQ(catch_error([&] { store->read(address); }).code(), ErrorCode::unavailable);
}

TEST(Landmarks, HaveABudgetOfTheirOwn) {
  const TemporaryDirectory directory;
  const TestObject object = long_object(1);
  const auto store = open_store(make_config(directory / "v", 17 * kLayers, kHostLandmarks));
  const VolumeId volume = only_volume(*store);
  store->reconcile(volume, kStore, 1, {});
  write_object(*store, object, volume);
  const auto error = catch_error([&] { store->pin(object.landmarks(volume)); });
  EXPECT_EQ(error.code(), ErrorCode::out_of_memory);
  EXPECT_NE(error.message().find("--landmark-ram-size"), std::string::npos) << error.message();
  EXPECT_EQ(store->stats().landmark_bytes_pinned, 0u);
  const PinnedBlocks kv = store->pin(object.addresses(volume));  // all of host memory for KV, and landmarks still load
  const auto landmarks = object.landmarks(volume);
  const PinnedBlocks some = store->pin(std::span(landmarks).first(kHostLandmarks));
  for (std::size_t i = 0; i < some.size(); ++i) EXPECT_TRUE(is_filled(some[i], landmarks[i]));
}

TEST(Landmarks, WithoutRoomForOneAreRefusedAtOpening) {
  const TemporaryDirectory directory;
  const KvStoreConfig config = make_config(directory / "v", 1, 0);
  EXPECT_EQ(catch_error([&] { KvStore::open(config); }).param(), "landmark_budget_bytes");
}

// One object written three times in stores of their own: as it is, with one byte of landmarks changed, without any.
TEST(Landmarks, AreInTheHashOfTheirManifest) {
  std::set<std::uint64_t> hashes;
  for (const int variant : {0, 1, 2}) {
    const TemporaryDirectory directory;
    const auto store = open_store(make_config(directory / "v", 64));
    const VolumeId volume = only_volume(*store);
    store->reconcile(volume, kStore, 1, {});
    const TestObject object{.id = {1}, .has_landmarks = variant != 2};
    if (variant == 1) {
      std::byte* bytes = store->block_for_writing(object.landmarks(volume).front());
      fill(bytes, object.landmarks(volume).front());
      bytes[7] ^= std::byte{1};
      store->seal(object.landmarks(volume).front());
      for (std::size_t i = 1; i < kLayers; ++i) {
        fill(store->block_for_writing(object.landmarks(volume)[i]), object.landmarks(volume)[i]);
      }
      write_blocks(*store, {.id = {1}}, volume);
    } else {
      write_blocks(*store, object, volume);
    }
    store->commit(make_record(object, volume), 1);
    const protocol::ManifestRecord record = store->manifests(volume).at(0).first;
    EXPECT_EQ(record.block_count, (variant == 2 ? 4 : 5) * kLayers);
    hashes.insert(record.blocks_hash);
  }
  EXPECT_EQ(hashes.size(), 3u);
}

TEST(Landmarks, GoWithTheirObject) {
  const TemporaryDirectory directory;
  const auto store = open_store(make_config(directory / "v", 64, 64));
  const VolumeId volume = only_volume(*store);
  store->reconcile(volume, kStore, 1, {});
  write_object(*store, long_object(1), volume);
  write_object(*store, long_object(2), volume, 2);
  const ObjectId erased{1};
  store->erase({&erased, 1}, 3);
  for (const BlockAddress& address : long_object(1).landmarks(volume)) {
    EXPECT_EQ(catch_error([&] { store->pin({&address, 1}); }).code(), ErrorCode::not_found);
  }
  EXPECT_EQ(store->stats().landmark_bytes_used, 5 * kLayers * kLandmarkSlotBytes);
  EXPECT_EQ(read_object(*store, long_object(2), volume).right, (17 + 5) * kLayers);
}

}  // namespace
}  // namespace rotulus::memory_store
