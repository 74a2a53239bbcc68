// The store through its face: what is written is read back, now and after it was opened again; the budget holds.
#include "memory_store/kv_store.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <set>
#include <thread>

#include "memory_store/kv_block.h"
#include "memory_store/manifest.h"
#include "protocol/error.h"
#include "tests/memory_store/support.h"

namespace rotulus::memory_store {
namespace {

using Live = protocol::ReconcileVolume::Live;
using protocol::ErrorCode;

TEST(KvStore, ReadsBackWhatWasCommittedAfterItIsOpenedAgain) {
  const TemporaryDirectory directory;
  const TestObject object{.id = {11}, .blocks = 9};
  std::uint64_t hash = 0;
  VolumeId volume;
  {
    const auto store = open_store(make_config(directory / "v", 8));
    volume = only_volume(*store);
    store->reconcile(volume, kStore, 1, {});
    hash = write_object(*store, object, volume);
    EXPECT_EQ(read_object(*store, object, volume).right, 9 * kLayers);
  }
  const auto store = open_store(make_config(directory / "v", 8));
  EXPECT_EQ(only_volume(*store), volume);
  const auto result = store->reconcile(volume, kStore, 1, std::vector<Live>{{object.id, hash}});
  EXPECT_TRUE(result.damaged.empty());
  EXPECT_EQ(result.collected_objects, 0u);
  EXPECT_EQ(read_object(*store, object, volume).right, 9 * kLayers);

  const auto manifests = store->manifests(volume);
  ASSERT_EQ(manifests.size(), 1u);
  EXPECT_EQ(manifests[0].second, hash);
  protocol::ManifestRecord expected = make_record(object, volume);
  expected.block_count = 9 * kLayers;
  expected.blocks_hash = manifests[0].first.blocks_hash;
  EXPECT_EQ(manifests[0].first, expected);
  EXPECT_NE(manifests[0].first.blocks_hash, 0u);
}

TEST(KvStore, GivesZeroedAlignedMemoryAndTheSameUntilItIsSealed) {
  const TemporaryDirectory directory;
  const auto store = open_store(make_config(directory / "v", 4));
  const VolumeId volume = only_volume(*store);
  // Dirty the whole of host memory first.
  write_blocks(*store, {.id = {1}, .blocks = 4}, volume);
  store->abandon({1});
  const BlockAddress address{.object = {2}, .layer = 1, .block = 3, .volume = volume};
  std::byte* bytes = store->block_for_writing(address);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(bytes) % kernels::kKvElementAlignment, 0u);
  for (std::size_t i = 0; i < block_bytes(); ++i) ASSERT_EQ(bytes[i], std::byte{0}) << i;
  bytes[5] = std::byte{9};
  EXPECT_EQ(store->block_for_writing(address), bytes);
  // A reader sees what is filled so far, in the same place.
  const PinnedBlocks pinned = store->pin({&address, 1});
  EXPECT_EQ(pinned[0], bytes);
  EXPECT_EQ(catch_error([&] { store->read(address); }).code(), ErrorCode::unavailable);
}

TEST(KvStore, HandsOutBlocksInTheOrderAskedForAlsoTwice) {
  const TemporaryDirectory directory;
  const TestObject object{.id = {3}, .blocks = 6};
  const auto store = open_store(make_config(directory / "v", 6 * kLayers));
  const VolumeId volume = only_volume(*store);
  store->reconcile(volume, kStore, 1, {});
  write_object(*store, object, volume);
  auto addresses = object.addresses(volume);
  std::reverse(addresses.begin(), addresses.end());
  addresses.push_back(addresses[2]);
  addresses.insert(addresses.begin(), addresses[7]);
  {
    const PinnedBlocks pinned = store->pin(addresses);
    ASSERT_EQ(pinned.size(), addresses.size());
    for (std::size_t i = 0; i < addresses.size(); ++i) EXPECT_TRUE(is_filled(pinned[i], addresses[i]));
  }
  EXPECT_EQ(store->stats().host_bytes_pinned, 0u);
}

TEST(KvStore, KeepsPinnedBlocksWhileEvictingOthers) {
  const TemporaryDirectory directory;
  const TestObject kept{.id = {1}, .blocks = 2}, other{.id = {2}, .blocks = 40};
  const auto store = open_store(make_config(directory / "v", 2 * kLayers + 2));
  const VolumeId volume = only_volume(*store);
  store->reconcile(volume, kStore, 1, {});
  write_object(*store, kept, volume);
  const auto addresses = kept.addresses(volume);
  const PinnedBlocks pinned = store->pin(addresses);
  std::vector<const std::byte*> places;
  for (std::size_t i = 0; i < pinned.size(); ++i) places.push_back(pinned[i]);
  write_object(*store, other, volume, 2);
  EXPECT_EQ(read_object(*store, other, volume).right, 40 * kLayers);
  EXPECT_GE(store->stats().blocks_evicted, 2 * 40 * kLayers - 2);
  for (std::size_t i = 0; i < pinned.size(); ++i) {
    EXPECT_EQ(pinned[i], places[i]);
    EXPECT_TRUE(is_filled(pinned[i], addresses[i]));
  }
}

TEST(KvStore, SaysTheNumbersWhenThePinnedSetDoesNotFit) {
  const TemporaryDirectory directory;
  const TestObject object{.id = {1}, .blocks = 4};
  const auto store = open_store(make_config(directory / "v", 5));
  const VolumeId volume = only_volume(*store);
  store->reconcile(volume, kStore, 1, {});
  write_object(*store, object, volume);
  const auto error = catch_error([&] { store->pin(object.addresses(volume)); });
  EXPECT_EQ(error.code(), ErrorCode::out_of_memory);
  EXPECT_NE(error.message().find(std::to_string(5 * block_bytes())), std::string::npos) << error.message();
  EXPECT_EQ(store->stats().host_bytes_pinned, 0u);  // the attempt holds nothing
  EXPECT_EQ(read_object(*store, object, volume).right, 4 * kLayers);
}

TEST(KvStore, RefusesABudgetBelowOneBlock) {
  const TemporaryDirectory directory;
  KvStoreConfig config = make_config(directory / "v", 1);
  config.host_budget_bytes -= 1;
  EXPECT_EQ(catch_error([&] { KvStore::open(config); }).param(), "host_budget_bytes");
}

TEST(KvStore, ForgetsWhatWasNotCommitted) {
  const TemporaryDirectory directory;
  const TestObject committed{.id = {1}}, uncommitted{.id = {2}};
  std::uint64_t hash = 0;
  VolumeId volume;
  {
    const auto store = open_store(make_config(directory / "v", 64));
    volume = only_volume(*store);
    store->reconcile(volume, kStore, 1, {});
    hash = write_object(*store, committed, volume);
    write_blocks(*store, uncommitted, volume);
    while (store->stats().blocks_written < 8 * kLayers) std::this_thread::yield();
  }
  const auto store = open_store(make_config(directory / "v", 64));
  EXPECT_EQ(store->manifests(volume).size(), 1u);
  const auto result = store->reconcile(volume, kStore, 1, std::vector<Live>{{committed.id, hash}});
  EXPECT_EQ(result.collected_objects, 1u);
  EXPECT_TRUE(result.damaged.empty());
  EXPECT_EQ(read_object(*store, committed, volume).right, 4 * kLayers);
  EXPECT_EQ(catch_error([&] { store->pin(uncommitted.addresses(volume)); }).code(), ErrorCode::not_found);
}

TEST(KvStore, ReportsLiveObjectsThatAreAbsentOrAnother) {
  const TemporaryDirectory directory;
  const auto store = open_store(make_config(directory / "v", 64));
  const VolumeId volume = only_volume(*store);
  store->reconcile(volume, kStore, 1, {});
  const std::uint64_t first = write_object(*store, {.id = {1}}, volume);
  const std::uint64_t second = write_object(*store, {.id = {2}}, volume, 2);
  const auto result =
      store->reconcile(volume, kStore, 2, std::vector<Live>{{{1}, first}, {{2}, second ^ 1}, {{3}, 77}});
  EXPECT_EQ(result.damaged, (std::vector<ObjectId>{{2}, {3}}));
  EXPECT_EQ(result.collected_objects, 0u);
}

TEST(KvStore, TouchesNothingForTheCatalogueOfAnotherStoreOrAnOlderOne) {
  const TemporaryDirectory directory;
  const auto store = open_store(make_config(directory / "v", 64));
  const VolumeId volume = only_volume(*store);
  store->reconcile(volume, kStore, 5, {});
  write_object(*store, {.id = {1}}, volume, 6);
  const auto other = catch_error([&] { store->reconcile(volume, {kStore.value + 1}, 9, {}); });
  EXPECT_EQ(other.code(), ErrorCode::conflict);
  EXPECT_NE(other.message().find((directory / "v").string()), std::string::npos) << other.message();
  const auto older = catch_error([&] { store->reconcile(volume, kStore, 5, {}); });
  EXPECT_EQ(older.code(), ErrorCode::conflict);
  EXPECT_EQ(store->manifests(volume).size(), 1u);
  EXPECT_EQ(store->volumes().at(0).store, kStore);
  EXPECT_EQ(store->volumes().at(0).catalogue_sequence, 6u);
  EXPECT_EQ(read_object(*store, {.id = {1}}, volume).right, 4 * kLayers);
}

TEST(KvStore, ErasesNothingOnAVolumeThatWasNotReconciled) {
  const TemporaryDirectory directory;
  const TestObject object{.id = {1}};
  {
    const auto store = open_store(make_config(directory / "v", 64));
    store->reconcile(only_volume(*store), kStore, 1, {});
    write_object(*store, object, only_volume(*store));
  }
  const auto store = open_store(make_config(directory / "v", 64));
  store->erase({&object.id, 1}, 2);
  EXPECT_EQ(store->manifests(only_volume(*store)).size(), 1u);
  EXPECT_EQ(read_object(*store, object, only_volume(*store)).right, 4 * kLayers);
}

TEST(KvStore, RefusesToCommitForAnotherStore) {
  const TemporaryDirectory directory;
  const auto store = open_store(make_config(directory / "v", 64));
  const VolumeId volume = only_volume(*store);
  store->reconcile(volume, kStore, 1, {});
  write_blocks(*store, {.id = {1}}, volume);
  const auto error = catch_error([&] { store->commit(make_record({.id = {1}}, volume, {99}), 2); });
  EXPECT_EQ(error.code(), ErrorCode::conflict);
}

// Physical bytes, not only keys: the erased half must be back on the disk when erase() returns.
TEST(KvStore, GivesErasedBytesBackToTheDisk) {
  const TemporaryDirectory directory;
  const auto store = open_store(make_config(directory / "v", 256));
  const VolumeId volume = only_volume(*store);
  store->reconcile(volume, kStore, 1, {});
  std::vector<ObjectId> erased;
  const std::uint32_t blocks = 64;
  const std::uint64_t object_bytes = blocks * kLayers * block_bytes();
  for (std::uint64_t id = 1; id <= 12; ++id) {
    write_object(*store, {.id = {id}, .blocks = blocks}, volume, id);
    if (id % 2 == 0) erased.push_back({id});
  }
  store->erase(erased, 13);
  EXPECT_LT(store->volumes().at(0).bytes_used, 6 * object_bytes + object_bytes / 2);
  EXPECT_EQ(store->manifests(volume).size(), 6u);
  for (std::uint64_t id = 1; id <= 12; ++id) {
    const TestObject object{.id = {id}, .blocks = blocks};
    if (id % 2 == 1) {
      EXPECT_EQ(read_object(*store, object, volume).right, blocks * kLayers);
    } else {
      const auto error = catch_error([&] { store->pin(object.addresses(volume)); });
      EXPECT_EQ(error.code(), ErrorCode::not_found);
    }
  }
  EXPECT_EQ(store->stats().blocks_corrupt, 0u);
}

TEST(KvStore, GivesTheBytesOfAnAbandonedObjectBack) {
  const TemporaryDirectory directory;
  const auto store = open_store(make_config(directory / "v", 16));
  const VolumeId volume = only_volume(*store);
  store->reconcile(volume, kStore, 1, {});
  write_object(*store, {.id = {1}}, volume, 1);
  write_blocks(*store, {.id = {2}, .blocks = 300}, volume);
  store->abandon({2});
  store->abandon({2});
  store->abandon({777});
  const auto left = [&] { return store->reconcile(volume, kStore, 1, std::vector<Live>{{{1}, 0}}).collected_objects; };
  // The writer's thread erases in the background; a reconcile that comes first collects it, and none finds it later.
  left();
  EXPECT_EQ(left(), 0u);
  EXPECT_EQ(read_object(*store, {.id = {1}}, volume).right, 4 * kLayers);
}

TEST(KvStore, LeavesWhatIsDiscardedOutOfItsObject) {
  const TemporaryDirectory directory;
  const auto store = open_store(make_config(directory / "v", 4));
  const VolumeId volume = only_volume(*store);
  store->reconcile(volume, kStore, 1, {});
  const TestObject object{.id = {1}, .blocks = 1};
  // Ten times as many as there are places for: what is discarded gives its place back.
  for (std::uint32_t block = 1; block <= 40; ++block) {
    const BlockAddress address{.object = object.id, .layer = 1, .block = block, .volume = volume};
    fill(store->block_for_writing(address), address);
    store->discard(address);
    store->discard(address);
  }
  store->discard({.object = {2}, .layer = 0, .block = 0, .volume = volume});
  EXPECT_EQ(store->stats().host_bytes_pinned, 0u);
  write_object(*store, object, volume);
  EXPECT_EQ(store->manifests(volume).at(0).first.block_count, kLayers);
  EXPECT_EQ(read_object(*store, object, volume).right, kLayers);
  const BlockAddress discarded{.object = object.id, .layer = 1, .block = 1, .volume = volume};
  EXPECT_EQ(catch_error([&] { store->pin({&discarded, 1}); }).code(), ErrorCode::storage_corrupt);
}

TEST(KvStore, KeepsTwoVolumesApart) {
  const TemporaryDirectory directory;
  KvStoreConfig config = make_config(directory / "a", 4 * kLayers);
  config.volume_paths.push_back(directory / "b");
  config.eviction = Eviction::lru;  // what was read last stays
  std::vector<std::uint64_t> hashes;
  std::vector<VolumeId> volumes;
  {
    const auto store = open_store(config);
    for (const auto& state : store->volumes()) volumes.push_back(state.volume);
    ASSERT_EQ(volumes.size(), 2u);
    // One object, of which each volume has its own blocks.
    for (std::uint32_t i = 0; i < 2; ++i) {
      store->reconcile(volumes[i], kStore, 1, {});
      write_blocks(*store, {.id = {1}, .first_block = 4 * i}, volumes[i]);
    }
    for (std::uint32_t i = 0; i < 2; ++i) {
      hashes.push_back(store->commit(make_record({.id = {1}, .first_block = 4 * i}, volumes[i]), 2));
    }
  }
  const auto store = open_store(config);
  for (std::uint32_t i = 0; i < 2; ++i) {
    const auto result = store->reconcile(volumes[i], kStore, 2, std::vector<Live>{{{1}, hashes[i]}});
    EXPECT_TRUE(result.damaged.empty());
    EXPECT_EQ(read_object(*store, {.id = {1}, .first_block = 4 * i}, volumes[i]).right, 4 * kLayers);
    EXPECT_EQ(read_object(*store, {.id = {1}, .first_block = 4 * i}, volumes[1 - i]).right, 4 * kLayers)
        << "a block that is resident is found wherever it is said to lie";
  }
  const ObjectId object{1};
  store->erase({&object, 1}, 3);
  for (const VolumeId volume : volumes) EXPECT_TRUE(store->manifests(volume).empty());
}

TEST(KvStore, CarriesBlocksToARankThatDoesNotHoldTheirVolume) {
  const TemporaryDirectory directory;
  const TestObject object{.id = {1}, .has_landmarks = true};
  const auto holder = open_store(make_config(directory / "a", 16));
  const auto reader = open_store(make_config(directory / "b", 16));
  const VolumeId volume = only_volume(*holder);
  holder->reconcile(volume, kStore, 1, {});
  write_object(*holder, object, volume);
  const auto addresses = object.all(volume);
  EXPECT_EQ(reader->missing(addresses), addresses);
  for (const auto& some : {object.addresses(volume), object.landmarks(volume)}) {
    EXPECT_EQ(catch_error([&] { reader->pin(some); }).code(), ErrorCode::unavailable);
  }
  for (const BlockAddress& address : addresses) {
    const std::vector<std::byte> bytes = holder->read(address);
    ASSERT_EQ(bytes.size(), reader->wire_bytes(address.kind));
    reader->insert(address, bytes);
  }
  EXPECT_TRUE(reader->missing(addresses).empty());
  const ReadBack read = read_object(*reader, object, volume);
  EXPECT_EQ(read.right, addresses.size());
}

// Blocks that come one after the other, into a memory full of favourites: none takes the place of another.
TEST(KvStore, HoldsWhatComesFromARankUntilAllOfItIsThere) {
  constexpr std::size_t kSlots = 4;
  const TemporaryDirectory directory;
  const TestObject object{.id = {1}};
  const auto holder = open_store(make_config(directory / "a", 16));
  KvStoreConfig config = make_config(directory / "b", kSlots);
  config.eviction = Eviction::frequent;
  const auto reader = open_store(config);
  const VolumeId volume = only_volume(*holder);
  holder->reconcile(volume, kStore, 1, {});
  write_object(*holder, object, volume);
  const auto addresses = object.addresses(volume);
  ASSERT_GE(addresses.size(), 2 * kSlots);
  const std::span favourites = std::span(addresses).first(kSlots);
  for (const BlockAddress& address : favourites) reader->insert(address, holder->read(address));
  for (int i = 0; i < 3; ++i) reader->pin(favourites);

  const std::span wanted = std::span(addresses).subspan(kSlots - 1, kSlots);  // one is there
  std::vector<PinnedBlocks> held;
  held.push_back(reader->pin_resident(wanted));
  EXPECT_EQ(held.front().size(), 1u);
  for (const BlockAddress& address : reader->missing(wanted)) {
    held.push_back(reader->insert(address, holder->read(address)));
  }
  EXPECT_EQ(reader->pin(wanted).size(), kSlots);
}

// Every bit of a block on its way, header included, and every wrong address it may arrive under.
TEST(KvStore, TakesNoBlockThatWasChangedOnItsWay) {
  const TemporaryDirectory directory;
  KvStoreConfig config = make_config(directory / "v", 16);
  config.landmark_bytes = block_bytes();  // as large as the other kind, which must not be all that tells them apart
  config.landmark_budget_bytes = 16 * block_bytes();
  const auto store = open_store(config);
  const VolumeId volume = only_volume(*store);
  store->reconcile(volume, kStore, 1, {});
  write_object(*store, {.id = {1}, .has_landmarks = true}, volume);
  const auto refuses = [&](const BlockAddress& to, std::span<const std::byte> changed) {
    try {
      store->insert(to, changed);
      return false;
    } catch (const protocol::Error& error) {
      return error.code() == ErrorCode::storage_corrupt && store->last_damage().address == to;
    }
  };
  std::size_t refused = 0;
  for (const BlockKind kind : {BlockKind::kv, BlockKind::landmarks}) {
    const BlockAddress address{.object = {1}, .layer = 1, .block = 0, .volume = volume, .kind = kind};
    const std::vector<std::byte> bytes = store->read(address);
    BlockAddress foreign = address;
    foreign.volume = {4711};
    for (std::size_t bit = 0; bit < bytes.size() * 8; bit += bit < 64 * 8 ? 1 : 97, ++refused) {
      std::vector<std::byte> changed = bytes;
      changed[bit / 8] ^= std::byte(1 << bit % 8);
      ASSERT_TRUE(refuses(foreign, changed)) << "bit " << bit;
    }
    std::array<BlockAddress, 4> others = {foreign, foreign, foreign, foreign};
    others[0].block = 4;
    others[1].layer = 2;
    others[2].object = {2};
    others[3].kind = kind == BlockKind::kv ? BlockKind::landmarks : BlockKind::kv;
    for (const BlockAddress& other : others) EXPECT_TRUE(refuses(other, bytes)) << to_string(other);
    EXPECT_TRUE(refuses(foreign, std::span(bytes).first(bytes.size() - 1)));
    refused += others.size() + 1;
  }
  EXPECT_EQ(store->stats().blocks_corrupt, refused);
}

// Random objects written, read, pinned, abandoned and erased in any order, in a host memory of a few blocks: never more
// than the budget in use, never other bytes than were written.
TEST(KvStore, HoldsItsBudgetAndItsBytesUnderAnyLoad) {
  constexpr std::size_t kHostBlocks = 14, kHostLandmarks = 7;
  const TemporaryDirectory directory;
  const auto store = open_store(make_config(directory / "v", kHostBlocks, kHostLandmarks));
  const VolumeId volume = only_volume(*store);
  store->reconcile(volume, kStore, 1, {});
  std::uint64_t next = 1;  // objects are never named twice, so all cases share one store
  EXPECT_TRUE(rc::check([&] {
    std::map<std::uint64_t, std::uint32_t> committed;  // object, blocks
    std::vector<std::pair<std::vector<BlockAddress>, PinnedBlocks>> held;
    const auto any_committed = [&] {
      const auto [id, blocks] = *rc::gen::elementOf(std::vector(committed.begin(), committed.end()));
      return TestObject{.id = {id}, .blocks = blocks, .has_landmarks = true};
    };
    const auto write = [&] {
      const TestObject object{.id = {next++}, .blocks = *rc::gen::inRange<std::uint32_t>(1, 10), .has_landmarks = true};
      const bool is_abandoned = *rc::gen::inRange(0, 4) == 0;
      try {
        write_blocks(*store, object, volume);
        if (!is_abandoned) store->commit(make_record(object, volume), next);
      } catch (const protocol::Error&) {
        store->abandon(object.id);
        throw;
      }
      if (is_abandoned) {
        store->abandon(object.id);
      } else {
        committed[object.id.value] = object.blocks;
      }
    };
    const auto pin = [&] {
      const TestObject object = any_committed();
      const bool is_kv = *rc::gen::arbitrary<bool>();
      const auto all = is_kv ? object.addresses(volume) : object.landmarks(volume);
      const std::size_t most = (is_kv ? kHostBlocks : kHostLandmarks) / 2;
      std::vector<BlockAddress> some;
      for (std::size_t i = 0; i < std::min(all.size(), most); ++i) some.push_back(*rc::gen::elementOf(all));
      held.emplace_back(some, store->pin(some));
      if (*rc::gen::arbitrary<bool>()) held.erase(held.begin());
    };
    const int steps = *rc::gen::inRange(1, 40);
    for (int step = 0; step < steps; ++step) {
      const int deed = *rc::gen::inRange(0, 8);
      try {
        if (deed <= 1 || committed.empty()) {
          write();
        } else if (deed <= 5) {
          pin();
        } else if (deed == 6) {
          held.clear();
        } else {
          const ObjectId object = any_committed().id;
          store->erase({&object, 1}, next);
          committed.erase(object.value);
        }
      } catch (const protocol::Error& error) {
        RC_ASSERT(error.code() == ErrorCode::out_of_memory);  // too much is held
        held.clear();
      }
      const auto stats = store->stats();
      RC_ASSERT(stats.host_bytes_used <= kHostBlocks * block_bytes());
      RC_ASSERT(stats.host_bytes_pinned <= stats.host_bytes_used);
      RC_ASSERT(stats.landmark_bytes_used <= kHostLandmarks * kLandmarkSlotBytes);
      RC_ASSERT(stats.landmark_bytes_pinned <= stats.landmark_bytes_used);
      RC_ASSERT(stats.blocks_corrupt == 0u);
      for (const auto& [addresses, pinned] : held) {
        for (std::size_t i = 0; i < addresses.size(); ++i) RC_ASSERT(is_filled(pinned[i], addresses[i]));
      }
    }
    held.clear();
    for (const auto& [id, blocks] : committed) {
      const TestObject object{.id = {id}, .blocks = blocks, .has_landmarks = true};
      RC_ASSERT(read_object(*store, object, volume).right == object.all(volume).size());
    }
  }));
}

}  // namespace
}  // namespace rotulus::memory_store
