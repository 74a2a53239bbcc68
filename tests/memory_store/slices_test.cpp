// An object read in slices from one store and written to the volumes of another: under its new id it must be the same
// bytes, and whatever is not whole must never become an object.
#include "memory_store/slices.h"

#include <gtest/gtest.h>

#include <map>
#include <utility>

#include "protocol/error.h"
#include "protocol/lanes.h"
#include "protocol/token_range.h"
#include "tests/memory_store/support.h"

namespace rotulus::memory_store {
namespace {

using Live = protocol::ReconcileVolume::Live;
using protocol::ErrorCode;

const TestObject kObject{
    .id = {11}, .first_block = 32, .blocks = 13, .has_landmarks = true, .has_bounds = true, .has_centroids = true};
constexpr ObjectId kCopy{900};

using Slices = std::map<std::pair<std::uint64_t, std::uint32_t>, StoredSlice>;  // by stripe and layer

class SlicesTest : public testing::Test {
 protected:
  SlicesTest() : store_(open_store(make_config(directory_ / "from", 64, 64))) {
    const VolumeId volume = only_volume(*store_);
    store_->reconcile(volume, kStore, 1, {});
    hash_ = write_object(*store_, kObject, volume);
  }

  Slices read_all() {
    Slices slices;
    const VolumeId volume = only_volume(*store_);
    for (std::uint64_t stripe = 8; stripe < 12; ++stripe) {
      for (std::uint32_t layer = 0; layer < kLayers; ++layer) {
        slices[{stripe, layer}] = store_->read_slice({volume, kObject.id, stripe, layer}, hash_);
      }
    }
    return slices;
  }

  // Two volumes, the first with the lower half of the lanes.
  KvStoreConfig other_config() const {
    KvStoreConfig config = make_config(directory_ / "a", 64, 64);
    config.volume_paths.push_back(directory_ / "b");
    return config;
  }
  static protocol::Placement placement(const KvStore& store) {
    return protocol::place_lanes({{store.volumes().at(0).volume}, {store.volumes().at(1).volume}});
  }
  static std::uint64_t commit(KvStore& store, VolumeId volume, std::uint32_t* blocks) {
    protocol::ManifestRecord record = make_record(kObject, volume);
    record.object = kCopy;
    record.placement = placement(store);
    const std::uint64_t hash = store.commit_slices(record, 1);
    *blocks += record.block_count;
    return hash;
  }

  const TemporaryDirectory directory_;
  std::unique_ptr<KvStore> store_;
  std::uint64_t hash_ = 0;
};

TEST_F(SlicesTest, AreTheSameObjectOnAnotherNumberOfVolumesAfterItIsOpenedAgain) {
  std::map<VolumeId, std::uint64_t> hashes;
  std::uint32_t blocks = 0, read = 0, written = 0;
  {
    const auto other = open_store(other_config());
    for (const auto& state : other->volumes()) other->reconcile(state.volume, kStore, 1, {});
    for (const auto& [place, slice] : read_all()) {
      const VolumeId volume = protocol::volume_of_lane(placement(*other), protocol::lane_of_stripe(place.first));
      EXPECT_EQ(slice.object_block_count, kObject.all({}).size());
      read += slice.block_count;
      written += other->write_slice({volume, kCopy, place.first, place.second}, slice.bytes);
    }
    for (const auto& state : other->volumes()) hashes[state.volume] = commit(*other, state.volume, &blocks);
  }
  EXPECT_EQ(read, kObject.all({}).size());
  EXPECT_EQ(written, read);
  EXPECT_EQ(blocks, read);

  const auto other = open_store(other_config());
  for (const auto& [volume, hash] : hashes) {
    EXPECT_TRUE(other->reconcile(volume, kStore, 1, std::vector<Live>{{kCopy, hash}}).damaged.empty());
    const Verification seen = other->verify(volume, kCopy, hash);
    EXPECT_EQ(seen.blocks_damaged, 0u);
    EXPECT_GT(seen.blocks_verified, 0u);
  }
  for (BlockAddress address : kObject.all({})) {
    const BlockAddress before = address;
    address.object = kCopy;
    address.volume = protocol::volume_of_lane(placement(*other), protocol::lane_of_block(address.block));
    EXPECT_TRUE(is_filled(other->pin({&address, 1})[0], before)) << to_string(address);
  }
}

TEST_F(SlicesTest, WithAnyBitFlippedOrCutAnywhereAreRefused) {
  const StoredSlice slice = read_all().at({9, 1});
  const auto other = open_store(make_config(directory_ / "to", 64, 64));
  const VolumeId volume = only_volume(*other);
  std::uint64_t object = 100;
  const auto refused = [&](std::span<const std::byte> bytes) {
    return catch_error([&] {
             other->write_slice({volume, {++object}, 9, 1}, bytes);
           }).code() == ErrorCode::storage_corrupt;
  };
  for (std::size_t i = 0; i < slice.bytes.size(); i += 1 + i % 97) {
    std::vector<std::byte> damaged = slice.bytes;
    damaged[i] ^= std::byte{1} << (i % 8);
    EXPECT_TRUE(refused(damaged)) << i;
  }
  for (const std::size_t bytes : {std::size_t{1}, std::size_t{63}, std::size_t{64}, slice.bytes.size() - 1}) {
    EXPECT_TRUE(refused(std::span(slice.bytes).first(bytes))) << bytes;
  }
  std::vector<std::byte> twice = slice.bytes;
  twice.insert(twice.end(), slice.bytes.begin(), slice.bytes.end());
  EXPECT_TRUE(refused(twice));
  // Of another place than it is said to be.
  EXPECT_EQ(catch_error([&] {
              other->write_slice({volume, {50}, 8, 1}, slice.bytes);
            }).code(),
            ErrorCode::storage_corrupt);
  EXPECT_EQ(catch_error([&] {
              other->write_slice({volume, {50}, 9, 2}, slice.bytes);
            }).code(),
            ErrorCode::storage_corrupt);
}

TEST_F(SlicesTest, AreGarbageUntilTheyAreCommitted) {
  const auto other = open_store(make_config(directory_ / "to", 64, 64));
  const VolumeId volume = only_volume(*other);
  other->reconcile(volume, kStore, 1, {});
  const auto write = [&](ObjectId object) {
    for (const auto& [place, slice] : read_all()) {
      other->write_slice({volume, object, place.first, place.second}, slice.bytes);
    }
  };
  write({700});
  EXPECT_TRUE(other->manifests(volume).empty());
  const ObjectId first{700};
  other->erase({&first, 1}, 2);
  write({701});
  EXPECT_EQ(other->reconcile(volume, kStore, 2, {}).collected_objects, 1u);
  // Begun anew under the same id, nothing of before is part of it.
  write({700});
  protocol::ManifestRecord record = make_record(kObject, volume);
  record.object = first;
  other->commit_slices(record, 3);
  EXPECT_EQ(record.block_count, kObject.all({}).size());
}

TEST_F(SlicesTest, TellWhatIsDamagedByTheirCountAndWhoseManifestIs) {
  const VolumeId volume = only_volume(*store_);
  EXPECT_EQ(catch_error([&] { store_->read_slice({volume, {12}, 8, 0}, hash_); }).code(), ErrorCode::not_found);
  EXPECT_EQ(catch_error([&] {
              store_->read_slice({volume, kObject.id, 8, 0}, hash_ + 1);
            }).code(),
            ErrorCode::storage_corrupt);
  EXPECT_EQ(catch_error([&] { store_->read_slice({{5}, kObject.id, 8, 0}, hash_); }).code(), ErrorCode::unavailable);
}

}  // namespace
}  // namespace rotulus::memory_store
