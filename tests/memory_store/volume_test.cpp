// Opening volumes: new ones, held ones, damaged ones, copies. Whatever is wrong with one, it is named, nothing of it is
// deleted, and the others serve.
#include <gtest/gtest.h>
#include <signal.h>

#include <fstream>
#include <thread>

#include "memory_store/tiers/rocksdb/volume_identity.h"
#include "protocol/error.h"
#include "tests/memory_store/support.h"

namespace rotulus::memory_store {
namespace {

namespace fs = std::filesystem;

std::string contents(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void overwrite(const fs::path& path, const std::string& text) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << text;
}

std::set<std::string> names_in(const fs::path& directory) {
  std::set<std::string> names;
  for (const auto& entry : fs::recursive_directory_iterator(directory)) names.insert(entry.path().string());
  return names;
}

// A volume that was written and closed, beside a healthy one.
struct TwoVolumes {
  TemporaryDirectory directory;
  KvStoreConfig config;
  VolumeId damaged, healthy;

  TwoVolumes() {
    config = make_config(directory / "damaged", 64);
    damaged = write(config);
    KvStoreConfig other = make_config(directory / "healthy", 64);
    healthy = write(other);
    config.volume_paths.push_back(other.volume_paths[0]);
  }
  static VolumeId write(const KvStoreConfig& config) {
    const auto store = open_store(config);
    store->reconcile(only_volume(*store), kStore, 1, {});
    write_object(*store, {.id = {1}}, only_volume(*store));
    return only_volume(*store);
  }
  void expect_named_and_untouched(const std::string& reason) {
    const auto before = names_in(directory / "damaged");
    const auto store = KvStore::open(config);
    ASSERT_EQ(store->failed_volumes().size(), 1u);
    EXPECT_EQ(store->failed_volumes()[0].path, (directory / "damaged").string());
    EXPECT_NE(store->failed_volumes()[0].reason.find(reason), std::string::npos) << store->failed_volumes()[0].reason;
    EXPECT_FALSE(store->holds(damaged));
    EXPECT_TRUE(store->holds(healthy));
    EXPECT_EQ(read_object(*store, {.id = {1}}, healthy).right, 4 * kLayers);
    for (const std::string& name : before) EXPECT_TRUE(fs::exists(name)) << name;
  }
};

TEST(Volume, WhoseDatabaseLostItsCurrentFileIsNamed) {
  TwoVolumes volumes;
  fs::remove(volumes.directory / "damaged/rocksdb/CURRENT");
  volumes.expect_named_and_untouched("move it away");
}

TEST(Volume, WhoseDatabaseManifestIsDamagedIsNamed) {
  TwoVolumes volumes;
  for (const auto& entry : fs::directory_iterator(volumes.directory / "damaged/rocksdb")) {
    if (entry.path().filename().string().starts_with("MANIFEST")) overwrite(entry.path(), std::string(200, 'x'));
  }
  volumes.expect_named_and_untouched("does not open");
}

TEST(Volume, WithoutItsIdentityIsNamed) {
  TwoVolumes volumes;
  fs::remove(volumes.directory / "damaged/VOLUME");
  volumes.expect_named_and_untouched("no file VOLUME");
}

TEST(Volume, IsNamedWhereItsPathIsAFile) {
  TwoVolumes volumes;
  fs::remove_all(volumes.directory / "damaged");
  overwrite(volumes.directory / "damaged", "not a directory");
  const auto store = KvStore::open(volumes.config);
  ASSERT_EQ(store->failed_volumes().size(), 1u);
  EXPECT_TRUE(store->holds(volumes.healthy));
}

TEST(Volume, ThatIsACopyOfAnotherIsNamed) {
  TwoVolumes volumes;
  fs::remove_all(volumes.directory / "damaged");
  fs::copy(volumes.directory / "healthy", volumes.directory / "damaged", fs::copy_options::recursive);
  const auto store = KvStore::open(volumes.config);
  ASSERT_EQ(store->failed_volumes().size(), 1u);
  EXPECT_NE(store->failed_volumes()[0].reason.find("copy"), std::string::npos);
  EXPECT_TRUE(store->holds(volumes.healthy));
}

TEST(Volume, IdentityIsNeverReadFromDamagedText) {
  const TemporaryDirectory directory(TemporaryDirectory::Place::memory);
  const VolumeIdentity identity{.volume = {0x1234}, .store = {0x99}, .catalogue_sequence = 17, .created_unix_ms = 1};
  write_identity(directory.path(), identity);
  EXPECT_EQ(read_identity(directory.path()), identity);
  const std::string text = contents(directory / "VOLUME");
  for (std::size_t bit = 0; bit < text.size() * 8; ++bit) {
    std::string changed = text;
    changed[bit / 8] ^= static_cast<char>(1 << bit % 8);
    overwrite(directory / "VOLUME", changed);
    ASSERT_THROW(read_identity(directory.path()), protocol::Error) << "bit " << bit;
  }
  for (std::size_t length = 0; length < text.size(); ++length) {
    overwrite(directory / "VOLUME", text.substr(0, length));
    ASSERT_THROW(read_identity(directory.path()), protocol::Error) << "length " << length;
  }
}

TEST(Volume, HeldByAnotherProcessIsNamedWithItsHolder) {
  const TemporaryDirectory directory;
  const int child = start_child("hold", directory.path(), "");
  // Until the child has it, this process opens it and lets go again; both orders are fine.
  KvStoreConfig config = make_config(directory / "volume", 4);
  config.lock_timeout = std::chrono::milliseconds(0);
  std::string reason;
  for (int attempt = 0; attempt < 500 && reason.empty(); ++attempt) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    const auto pid = contents(directory / "volume/LOCK");
    if (pid != std::to_string(child)) continue;
    const auto store = KvStore::open(config);
    if (!store->failed_volumes().empty()) reason = store->failed_volumes()[0].reason;
  }
  EXPECT_NE(reason.find(fmt::format("process {} (memory_store_te", child)), std::string::npos) << reason;
  // A dying holder is waited for.
  config.lock_timeout = std::chrono::seconds(8);
  std::unique_ptr<KvStore> store;
  std::thread opening([&] { store = KvStore::open(config); });
  ::kill(child, SIGKILL);
  wait_child(child);
  opening.join();
  EXPECT_TRUE(store->failed_volumes().empty());
}

TEST(Volume, HeldByAnotherStoreOfThisProcessIsNamed) {
  const TemporaryDirectory directory;
  KvStoreConfig config = make_config(directory / "volume", 4);
  const auto store = open_store(config);
  config.lock_timeout = std::chrono::milliseconds(0);
  EXPECT_EQ(KvStore::open(config)->failed_volumes().size(), 1u);
  EXPECT_EQ(KvStore::open(config)->failed_volumes().size(), 1u) << "looking must not have taken the lock away";
}

TEST(Volume, WhoseMakingWasCutShortIsMadeAgain) {
  const TemporaryDirectory directory;
  fs::create_directories(directory / "volume/rocksdb.new");
  overwrite(directory / "volume/rocksdb.new/CURRENT", "half");
  write_identity(directory / "volume", {.volume = {5}});
  const auto store = open_store(make_config(directory / "volume", 64));
  EXPECT_EQ(only_volume(*store), VolumeId{5});
  store->reconcile({5}, kStore, 1, {});
  write_object(*store, {.id = {1}}, {5});
}

TEST(Volume, SaysWhatItMayStillTakeOfItsBoundAndWhichDiskItShares) {
  TwoVolumes two;
  two.config.max_volume_bytes = 64u << 20;
  const auto volumes = open_store(two.config)->volumes();
  ASSERT_EQ(volumes.size(), 2u);
  EXPECT_EQ(volumes[0].disk, volumes[1].disk);
  for (const protocol::VolumeState& volume : volumes) {
    EXPECT_EQ(volume.bytes_free, (64u << 20) - volume.bytes_used);
    EXPECT_GT(volume.disk_bytes_free, volume.bytes_free);
  }
}

}  // namespace
}  // namespace rotulus::memory_store
