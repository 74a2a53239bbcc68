// A disk that fills up: commits say so, reads go on, and writing goes on in the same process when space is free again.
// The disk is a small tmpfs where this process may mount one; otherwise the volume's own limit stands in for it.
#include <gtest/gtest.h>
#include <sys/mount.h>

#include <fstream>

#include "protocol/error.h"
#include "tests/memory_store/support.h"

namespace rotulus::memory_store {
namespace {

using protocol::ErrorCode;

constexpr std::uint64_t kDiskBytes = 48u << 20;

class SmallDisk final {
 public:
  SmallDisk() {
    const std::string options = "size=" + std::to_string(kDiskBytes);
    is_mounted_ = ::mount("tmpfs", directory_.path().c_str(), "tmpfs", 0, options.c_str()) == 0;
  }
  ~SmallDisk() {
    if (is_mounted_) ::umount2(directory_.path().c_str(), MNT_DETACH);
  }
  bool is_mounted() const { return is_mounted_; }
  std::filesystem::path operator/(const std::string& name) const { return directory_ / name; }

 private:
  TemporaryDirectory directory_;
  bool is_mounted_ = false;
};

TestObject object_of(std::uint64_t id) {
  return {.id = {id}, .blocks = 40 + static_cast<std::uint32_t>(id * 7 % 60)};
}

bool commit(KvStore& store, std::uint64_t id, VolumeId volume) {
  try {
    write_object(store, object_of(id), volume, id);
    return true;
  } catch (const protocol::Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::storage_full) << error.message();
    store.abandon({id});
    return false;
  }
}

void expect_all_readable(KvStore& store, const std::set<std::uint64_t>& ids, VolumeId volume) {
  for (const std::uint64_t id : ids) {
    const TestObject object = object_of(id);
    ASSERT_EQ(read_object(store, object, volume).right, object.blocks * kLayers) << "object " << id;
  }
}

TEST(FullDisk, FailsCommitsKeepsReadingAndRecoversInTheSameProcess) {
  const SmallDisk disk;
  if (!disk.is_mounted()) std::puts("no tmpfs can be mounted here: the volume's limit of bytes stands in for the disk");
  KvStoreConfig config = make_config(disk / "volume", 32);
  if (!disk.is_mounted()) config.max_volume_bytes = kDiskBytes;
  std::set<std::uint64_t> committed;
  VolumeId volume;
  {
    const auto store = open_store(config);
    volume = only_volume(*store);
    store->reconcile(volume, kStore, 1, {});
    std::uint64_t next = 1;
    for (int round = 0; round < 4; ++round) {
      SCOPED_TRACE(round);
      while (next < 500 && commit(*store, next, volume)) committed.insert(next++);
      ASSERT_LT(next, 500u);
      ++next;
      ASSERT_GT(committed.size(), 4u);
      expect_all_readable(*store, committed, volume);
      for (int again = 0; again < 3; ++again) {
        if (commit(*store, next, volume)) committed.insert(next);
        ++next;
      }
      // Space comes back by erasing half of what is there, also while the disk is full.
      std::vector<ObjectId> erased;
      for (const std::uint64_t id : committed) {
        if (id % 2 == static_cast<std::uint64_t>(round % 2)) erased.push_back({id});
      }
      store->erase(erased, next);
      for (const ObjectId id : erased) committed.erase(id.value);
      ASSERT_TRUE(commit(*store, next, volume)) << "after " << erased.size() << " objects were erased";
      committed.insert(next++);
      expect_all_readable(*store, committed, volume);
    }
    EXPECT_EQ(store->stats().blocks_corrupt, 0u);
  }
  const auto store = open_store(config);
  expect_all_readable(*store, committed, volume);
  std::set<std::uint64_t> found;
  for (const auto& [record, hash] : store->manifests(volume)) found.insert(record.object.value);
  EXPECT_EQ(found, committed);
}

// Somebody else's file fills the disk to the last byte at a random point of the writing, and goes away.
TEST(FullDisk, ByAnothersFileIsSurvivedAtAnyPoint) {
  const SmallDisk disk;
  if (!disk.is_mounted()) {
    std::puts(
        "no tmpfs can be mounted here, so no disk can be filled by another's file: only the volume's limit is "
        "tested, by the test before");
    return;
  }
  const auto store = open_store(make_config(disk / "volume", 32));
  const VolumeId volume = only_volume(*store);
  store->reconcile(volume, kStore, 1, {});
  std::set<std::uint64_t> committed;
  std::uint64_t next = 1;
  std::size_t failures = 0;
  for (int round = 0; round < 20; ++round) {
    SCOPED_TRACE(round);
    {
      std::ofstream hog(disk / "hog", std::ios::binary);
      const std::uint64_t available = std::filesystem::space(disk / "volume").available;
      const std::uint64_t left = static_cast<std::uint64_t>(round) * 200'000;  // from none to some commits
      const std::string piece(64 << 10, 'x');
      for (std::uint64_t written = 0; written + left < available; written += piece.size()) hog << piece << std::flush;
    }
    for (int i = 0; i < 3; ++i, ++next) {
      if (commit(*store, next, volume))
        committed.insert(next);
      else
        ++failures;
    }
    expect_all_readable(*store, committed, volume);
    std::filesystem::remove(disk / "hog");
    ASSERT_TRUE(commit(*store, next, volume));
    committed.insert(next++);
    expect_all_readable(*store, committed, volume);
    std::vector<ObjectId> erased;
    while (committed.size() > 4) {
      erased.push_back({*committed.begin()});
      committed.erase(committed.begin());
    }
    store->erase(erased, next);
  }
  EXPECT_GT(failures, 10u);
  EXPECT_EQ(store->stats().blocks_corrupt, 0u);
}

}  // namespace
}  // namespace rotulus::memory_store
