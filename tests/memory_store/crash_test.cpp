// A child process is killed at a named place or at any; the volume is opened again here. Every object must be whole or
// absent, and everything acknowledged must be there.
#include <gtest/gtest.h>
#include <signal.h>

#include <chrono>
#include <random>
#include <thread>

#include "protocol/error.h"
#include "tests/memory_store/support.h"

namespace rotulus::memory_store {
namespace {

using Live = protocol::ReconcileVolume::Live;

TestObject object_of(const protocol::ManifestRecord& record) {
  return {.id = record.object, .blocks = static_cast<std::uint32_t>(record.range.count() / 128), .has_landmarks = true};
}

// The objects that are there. Each must have all its blocks and landmarks as they were written.
std::set<std::uint64_t> whole_objects(KvStore& store, VolumeId volume) {
  std::set<std::uint64_t> ids;
  for (const auto& [record, hash] : store.manifests(volume)) {
    const TestObject object = object_of(record);
    const ReadBack read = read_object(store, object, volume);
    EXPECT_EQ(read.right, object.all(volume).size()) << "object " << record.object.value;
    EXPECT_EQ(record.block_count, object.all(volume).size());
    ids.insert(record.object.value);
  }
  return ids;
}

std::set<std::uint64_t> objects_after_death(const TemporaryDirectory& directory) {
  const auto store = open_store(make_config(directory / "volume", 64));
  return whole_objects(*store, only_volume(*store));
}

using Ids = std::set<std::uint64_t>;

struct Death {
  const char* failpoint;
  int passage;
  Ids expected;
};

TEST(Crash, LeavesEachObjectOfACommitWholeOrAbsent) {
  const Death deaths[] = {
      {"store.open", 1, {}},
      {"commit.before_blocks", 1, {}},
      {"commit.between_batches", 1, {}},
      {"commit.before_manifest", 1, {}},
      {"commit.after_manifest", 1, {1}},
      {"commit.before_manifest", 2, {1}},
      {"commit.after_manifest", 2, {1, 2}},
      {"commit.before_manifest", 3, {1, 2}},
      {"commit.after_manifest", 3, {1, 2, 3}},
  };
  for (const auto& [failpoint, passage, expected] : deaths) {
    SCOPED_TRACE(fmt::format("{}@{}", failpoint, passage));
    const TemporaryDirectory directory;
    EXPECT_TRUE(
        wait_child(start_child("write", directory.path(), fmt::format("{}=kill@{}", failpoint, passage))).is_killed);
    EXPECT_EQ(objects_after_death(directory), expected);
  }
}

TEST(Crash, LeavesNothingOfAnObjectThatCameInSlicesAndWasNotCommitted) {
  const TemporaryDirectory directory;
  EXPECT_TRUE(wait_child(start_child("import", directory.path(), "import.before_manifest=kill")).is_killed);
  EXPECT_EQ(objects_after_death(directory), (Ids{1, 2, 3}));
  const auto store = open_store(make_config(directory / "volume", 64));
  const VolumeId volume = only_volume(*store);
  std::vector<Live> live;
  for (const auto& [record, hash] : store->manifests(volume)) live.push_back({record.object, hash});
  store->reconcile(volume, kStore, 4, live);
  EXPECT_EQ(catch_error([&] { store->read_slice({volume, {9}, 0, 0}, 0); }).code(), protocol::ErrorCode::not_found);
  EXPECT_EQ(whole_objects(*store, volume), (Ids{1, 2, 3}));
}

TEST(Crash, LeavesEachObjectOfAnErasureWholeOrAbsent) {
  for (const char* failpoint : {"erase.before", "erase.between"}) {
    SCOPED_TRACE(failpoint);
    const TemporaryDirectory directory;
    EXPECT_EQ(wait_child(start_child("write", directory.path(), "")).status, 0);
    EXPECT_TRUE(wait_child(start_child("erase", directory.path(), fmt::format("{}=kill", failpoint))).is_killed);
    EXPECT_EQ(objects_after_death(directory), (Ids{1, 2, 3}));
    // And the next life finishes it.
    EXPECT_EQ(wait_child(start_child("erase", directory.path(), "")).status, 0);
    EXPECT_EQ(objects_after_death(directory), (Ids{1, 3}));
  }
}

TEST(Crash, LeavesEachObjectOfACollectionWholeOrAbsent) {
  for (const char* failpoint : {"reconcile.before_erase", "erase.before", "erase.between"}) {
    SCOPED_TRACE(failpoint);
    const TemporaryDirectory directory;
    EXPECT_EQ(wait_child(start_child("write", directory.path(), "")).status, 0);
    EXPECT_TRUE(wait_child(start_child("collect", directory.path(), fmt::format("{}=kill", failpoint))).is_killed);
    EXPECT_EQ(objects_after_death(directory), (Ids{1, 2, 3}));
    EXPECT_EQ(wait_child(start_child("collect", directory.path(), "")).status, 0);
    EXPECT_EQ(objects_after_death(directory), (Ids{1, 3}));
  }
}

TEST(Crash, FailsTheCommitWhereAFailpointMakesItFail) {
  for (const char* failpoint : {"commit.before_blocks", "commit.between_batches", "commit.before_manifest"}) {
    SCOPED_TRACE(failpoint);
    const TemporaryDirectory directory;
    EXPECT_EQ(wait_child(start_child("write", directory.path(), fmt::format("{}=error", failpoint))).status,
              kExitOfError + static_cast<int>(protocol::ErrorCode::internal));
    EXPECT_EQ(objects_after_death(directory), Ids{});
  }
}

TEST(Crash, OfAVolumeThatTakesNothingEndsTheWaitWithADeadline) {
  const TemporaryDirectory directory;
  const int child = start_child("write impatiently", directory.path(), "commit.before_blocks=sleep");
  EXPECT_EQ(wait_child(child).status, kExitOfError + static_cast<int>(protocol::ErrorCode::unavailable));
}

// No named place: SIGKILL at a random moment of writing, several lives on one volume.
TEST(Crash, AtAnyMomentLosesNothingThatWasWhole) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE(fmt::format("seed {}", seed));
  std::mt19937 random(seed);
  for (int round = 0; round < 12; ++round) {
    const TemporaryDirectory directory;
    const int child = start_child("write for ever", directory.path(), "");
    std::this_thread::sleep_for(std::chrono::milliseconds(50 + random() % 250));
    ::kill(child, SIGKILL);
    EXPECT_TRUE(wait_child(child).is_killed);
    const auto store = open_store(make_config(directory / "volume", 64));
    const VolumeId volume = only_volume(*store);
    Ids ids;
    std::vector<Live> live;
    for (const auto& [record, hash] : store->manifests(volume)) {
      EXPECT_EQ(read_object(*store, object_of(record), volume).right, object_of(record).all(volume).size());
      ids.insert(record.object.value);
      live.push_back({record.object, hash});
    }
    // Commits are in order, so what survives is a run from the first without gaps.
    EXPECT_EQ(ids.empty() ? 0 : *ids.rbegin(), ids.size());
    const auto result = store->reconcile(volume, kStore, 1u << 30, live);
    EXPECT_TRUE(result.damaged.empty());
    EXPECT_LE(result.collected_objects, 1u);
  }
}

}  // namespace
}  // namespace rotulus::memory_store
