// Flips bits and cuts files of a closed volume, opens it, and reads everything. What is read must be what was written
// or be refused; and a volume with damaged objects must take new ones and let the damaged go.
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <random>
#include <thread>

#include "protocol/error.h"
#include "tests/memory_store/support.h"

namespace rotulus::memory_store {
namespace {

namespace fs = std::filesystem;
using Live = protocol::ReconcileVolume::Live;

constexpr std::uint64_t kObjects = 3;

TestObject object_of(ObjectId id, std::uint32_t blocks) {
  return {.id = id, .blocks = blocks, .has_landmarks = true};
}

constexpr std::size_t kOfAStripe = (4 + 1) * kLayers;  // blocks of both kinds

struct Pristine {
  TemporaryDirectory directory;
  VolumeId volume;
  std::vector<Live> live;
};

// As a store leaves it that was closed in peace.
void write_closed(Pristine& pristine) {
  const auto store = open_store(make_config(pristine.directory / "volume", 64));
  pristine.volume = only_volume(*store);
  store->reconcile(pristine.volume, kStore, 1, {});
  for (std::uint64_t id = 1; id <= kObjects; ++id) {
    pristine.live.push_back({{id}, write_object(*store, object_of({id}, 8), pristine.volume, id)});
  }
}

// The last object only in the WAL: its writer was killed when the commit was synced.
void write_killed(Pristine& pristine) {
  ASSERT_TRUE(wait_child(start_child("write", pristine.directory.path(), "commit.after_manifest=kill@3")).is_killed);
  const TemporaryDirectory copy(TemporaryDirectory::Place::memory);  // opening changes files
  fs::copy(pristine.directory / "volume", copy / "volume", fs::copy_options::recursive);
  const auto store = open_store(make_config(copy / "volume", 64));
  pristine.volume = only_volume(*store);
  for (const auto& [record, hash] : store->manifests(pristine.volume)) pristine.live.push_back({record.object, hash});
  ASSERT_EQ(pristine.live.size(), kObjects);
}

// Those of an extension that are not empty; of none: all of the volume.
std::vector<fs::path> files_of(const fs::path& volume, const std::string& extension) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::recursive_directory_iterator(volume)) {
    const bool is_asked_for = extension.empty() || entry.path().extension() == extension;
    if (is_asked_for && entry.is_regular_file() && entry.file_size() > 0) files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

void wait_for_tables(const fs::path& volume, std::size_t count) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (files_of(volume, ".sst").size() != count && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  ASSERT_EQ(files_of(volume, ".sst").size(), count);
}

void flip(const fs::path& path, std::uint64_t bit) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekg(static_cast<std::streamoff>(bit / 8));
  const char byte = static_cast<char>(file.get() ^ 1 << bit % 8);
  file.seekp(static_cast<std::streamoff>(bit / 8));
  file.put(byte);
}

struct Outcome {
  bool is_open = true;
  std::size_t wrong = 0;
  std::size_t damaged = 0;  // objects
};

// Opens a damaged copy, reads all, erases what is damaged, writes it anew under a fresh id, and reads all again.
Outcome read_and_mend(const fs::path& directory, const Pristine& pristine, std::uint32_t blocks) {
  Outcome outcome;
  const auto store = KvStore::open(make_config(directory / "volume", 64));
  if (!store->failed_volumes().empty()) {
    outcome.is_open = false;
    EXPECT_FALSE(store->failed_volumes().front().reason.empty());
    return outcome;
  }
  std::set<ObjectId> damaged;
  for (const ObjectId id : store->reconcile(pristine.volume, kStore, 10, pristine.live).damaged) damaged.insert(id);
  for (const Live& live : pristine.live) {
    if (damaged.contains(live.object)) continue;
    const ReadBack read = read_object(*store, object_of(live.object, blocks), pristine.volume);
    outcome.wrong += read.wrong;
    if (read.refused > 0) damaged.insert(live.object);
  }
  outcome.damaged = damaged.size();
  std::uint64_t fresh = 100;
  for (std::size_t i = 0; i < damaged.size(); ++i) {
    write_object(*store, object_of({fresh + i}, blocks), pristine.volume, 11);
  }
  store->erase(std::vector<ObjectId>(damaged.begin(), damaged.end()), 12);
  for (std::size_t i = 0; i < damaged.size(); ++i) {
    EXPECT_EQ(read_object(*store, object_of({fresh + i}, blocks), pristine.volume).right, blocks / 4 * kOfAStripe);
  }
  return outcome;
}

void expect_whole_after_mending(const fs::path& directory, const Pristine& pristine, std::size_t objects,
                                std::uint32_t blocks) {
  const auto store = open_store(make_config(directory / "volume", 64));
  const auto manifests = store->manifests(pristine.volume);
  EXPECT_EQ(manifests.size(), objects);
  for (const auto& [record, hash] : manifests) {
    EXPECT_EQ(read_object(*store, object_of(record.object, blocks), pristine.volume).right, blocks / 4 * kOfAStripe);
  }
}

// One bit of one file each time: of tables, of the newest log, or (no extension) of any file that the volume has. Then
// the identity of the volume or the list of its files may be hit, and it does not open; it must say why.
void flip_bits(const Pristine& pristine, const std::string& extension, int flips, std::uint32_t blocks) {
  const char* const given = std::getenv("ROTULUS_SEED");
  const unsigned long seed = given ? std::strtoul(given, nullptr, 10) : 7;
  SCOPED_TRACE(fmt::format("seed {}", seed));
  std::mt19937_64 random(seed);
  std::size_t wrong = 0, detected = 0, not_open = 0;
  for (int i = 0; i < flips; ++i) {
    const TemporaryDirectory copy(TemporaryDirectory::Place::memory);
    fs::copy(pristine.directory / "volume", copy / "volume", fs::copy_options::recursive);
    const auto files = files_of(copy / "volume", extension);
    ASSERT_FALSE(files.empty());
    // Of the logs only the newest is read for sure: what an older one holds may be in tables already.
    const fs::path& file = extension == ".log" ? files.back() : files[random() % files.size()];
    const std::uint64_t bit = random() % (fs::file_size(file) * 8);
    SCOPED_TRACE(fmt::format("bit {} of {}", bit, file.filename().string()));
    flip(file, bit);
    const Outcome outcome = read_and_mend(copy.path(), pristine, blocks);
    wrong += outcome.wrong;
    not_open += !outcome.is_open;
    detected += outcome.damaged > 0;
    if (outcome.is_open) expect_whole_after_mending(copy.path(), pristine, kObjects, blocks);
    if (testing::Test::HasFailure()) break;
  }
  EXPECT_EQ(wrong, 0u);
  if (extension.empty()) {
    EXPECT_GT(not_open, 0u);
  } else {
    EXPECT_EQ(not_open, 0u) << "one bit of one table or log must not take the whole volume away";
    EXPECT_GT(detected, static_cast<std::size_t>(flips) / 2);
  }
  std::printf("%d flips in %s: %zu detected and mended, %zu refused at opening, %zu harmless, %zu wrong bytes served\n",
              flips, extension.empty() ? "any file" : extension.c_str(), detected, not_open,
              flips - detected - not_open, wrong);
}

// In tables as they are mostly, of one object each; and as a store leaves them that is closed at once again.
TEST(Damage, OfOneBitInAnSstIsFoundNeverServedAndMended) {
  Pristine settled, hasty;
  write_closed(settled);
  write_closed(hasty);
  {
    const auto store = open_store(make_config(settled.directory / "volume", 64));  // the log becomes a table
    wait_for_tables(settled.directory / "volume", kObjects);
  }
  open_store(make_config(hasty.directory / "volume", 64));
  flip_bits(settled, ".sst", 288, 8);
  flip_bits(hasty, ".sst", 12, 8);
}

TEST(Damage, OfOneBitInAWalIsFoundNeverServedAndMended) {
  Pristine pristine;
  write_killed(pristine);
  flip_bits(pristine, ".log", 120, 4);
}

// Files are drawn evenly, so most flips fall into the small ones that say who the volume is and what is in it.
TEST(Damage, OfOneBitInAnyFileIsFoundOrHarmlessAndNeverServed) {
  Pristine closed, killed;
  write_closed(closed);
  write_killed(killed);
  flip_bits(closed, "", 290, 8);
  flip_bits(killed, "", 290, 4);
}

// The bytes of one landmarks block are looked for in the files, so that the flip is sure to hit them.
TEST(Damage, OfLandmarksIsFoundAndTheBlocksBesideThemAreServed) {
  Pristine pristine;
  write_closed(pristine);
  open_store(make_config(pristine.directory / "volume", 64));  // a second life writes what was in the log into tables
  const BlockAddress address = object_of({2}, 8).landmarks(pristine.volume).at(1);
  std::string payload(kLandmarkBytes, '\0');
  fill(reinterpret_cast<std::byte*>(payload.data()), address);
  std::size_t found = 0;
  for (const fs::path& path : files_of(pristine.directory / "volume", ".sst")) {
    std::ifstream file(path, std::ios::binary);
    const std::string bytes{std::istreambuf_iterator<char>(file), {}};
    const std::size_t at = bytes.find(payload);
    if (at == std::string::npos) continue;
    flip(path, (at + 500) * 8 + 3);
    ++found;
  }
  ASSERT_EQ(found, 1u);
  const auto store = open_store(make_config(pristine.directory / "volume", 64));
  EXPECT_EQ(catch_error([&] { store->pin({&address, 1}); }).code(), protocol::ErrorCode::storage_corrupt);
  EXPECT_EQ(store->last_damage().address, address);
  EXPECT_EQ(read_object(*store, object_of({1}, 8), pristine.volume).right, 2 * kOfAStripe);
  const ReadBack beside = read_object(*store, object_of({2}, 8), pristine.volume);
  EXPECT_EQ(beside.wrong, 0u);
  EXPECT_GE(beside.refused, 1u);
  EXPECT_GE(beside.right, 8 * kLayers);
}

// Every block of one object in turn is damaged in its table: verifying the object counts it. (Small blocks of another
// may stand in the same block of the table, and go with it.)
TEST(Damage, OfAnyBlockIsCountedByVerifyingTheObjectAsItLiesOnTheDisk) {
  Pristine pristine;
  write_closed(pristine);
  {
    // A second life writes what was in the log into tables.
    const auto store = open_store(make_config(pristine.directory / "volume", 64));
    for (const Live& live : pristine.live) {
      EXPECT_EQ(store->verify(pristine.volume, live.object, live.manifest_hash),
                (Verification{.blocks_verified = 2 * kOfAStripe}));
    }
  }
  for (const BlockAddress& address : object_of({2}, 8).all(pristine.volume)) {
    SCOPED_TRACE(to_string(address));
    const TemporaryDirectory copy(TemporaryDirectory::Place::memory);
    fs::copy(pristine.directory / "volume", copy / "volume", fs::copy_options::recursive);
    std::string payload(payload_bytes(address), '\0');
    fill(reinterpret_cast<std::byte*>(payload.data()), address);
    std::size_t found = 0;
    for (const fs::path& path : files_of(copy / "volume", ".sst")) {
      std::ifstream file(path, std::ios::binary);
      const std::string bytes{std::istreambuf_iterator<char>(file), {}};
      const std::size_t at = bytes.find(payload);
      if (at == std::string::npos) continue;
      flip(path, (at + payload.size() / 2) * 8 + 3);
      ++found;
    }
    ASSERT_EQ(found, 1u);
    const auto store = open_store(make_config(copy / "volume", 64));
    for (const Live& live : pristine.live) {
      const Verification seen = store->verify(pristine.volume, live.object, live.manifest_hash);
      EXPECT_EQ(seen.blocks_verified + seen.blocks_damaged, 2 * kOfAStripe);
      EXPECT_TRUE(seen.blocks_damaged > 0 || live.object != address.object);
    }
    EXPECT_EQ(store->stats().host_bytes_used, 0u);
  }
}

TEST(Damage, OfAManifestOrAnObjectThatIsGoneIsCountedByVerifying) {
  Pristine pristine;
  write_closed(pristine);
  const auto store = open_store(make_config(pristine.directory / "volume", 64));
  const Live& live = pristine.live.front();
  EXPECT_EQ(store->verify(pristine.volume, live.object, live.manifest_hash + 1), (Verification{.blocks_damaged = 1}));
  EXPECT_EQ(store->verify(pristine.volume, {999}, 1), (Verification{.blocks_damaged = 1}));
  EXPECT_EQ(catch_error([&] { store->verify({12345}, live.object, live.manifest_hash); }).code(),
            protocol::ErrorCode::unavailable);
}

TEST(Damage, OfAWalCutAnywhereLosesOnlyWhatLayInTheTail) {
  Pristine pristine;
  write_killed(pristine);
  const auto wals = files_of(pristine.directory / "volume", ".log");
  ASSERT_FALSE(wals.empty());
  const std::uint64_t length = fs::file_size(wals.back());
  std::size_t absent = 0;
  const int cuts = 96;
  for (int i = 0; i < cuts; ++i) {
    const TemporaryDirectory copy(TemporaryDirectory::Place::memory);
    fs::copy(pristine.directory / "volume", copy / "volume", fs::copy_options::recursive);
    const std::uint64_t kept = length * static_cast<std::uint64_t>(i) / (cuts - 1);
    SCOPED_TRACE(fmt::format("{} of {} bytes kept", kept, length));
    fs::resize_file(copy / "volume/rocksdb" / wals.back().filename(), kept);
    const Outcome outcome = read_and_mend(copy.path(), pristine, 4);
    EXPECT_TRUE(outcome.is_open);
    EXPECT_EQ(outcome.wrong, 0u);
    EXPECT_TRUE(kept < length || outcome.damaged == 0);
    absent += outcome.damaged > 0;
    expect_whole_after_mending(copy.path(), pristine, kObjects, 4);
    if (HasFailure()) break;
  }
  EXPECT_GT(absent, 0u);
}

TEST(Damage, OfAnSstThatIsGoneIsFoundAndMended) {
  Pristine pristine;
  write_closed(pristine);
  for (const fs::path& file : files_of(pristine.directory / "volume", ".sst")) {
    SCOPED_TRACE(file.filename().string());
    const TemporaryDirectory copy(TemporaryDirectory::Place::memory);
    fs::copy(pristine.directory / "volume", copy / "volume", fs::copy_options::recursive);
    fs::remove(copy / "volume/rocksdb" / file.filename());
    const Outcome outcome = read_and_mend(copy.path(), pristine, 8);
    EXPECT_TRUE(outcome.is_open);
    EXPECT_EQ(outcome.wrong, 0u);
    EXPECT_GE(outcome.damaged, 1u);
    expect_whole_after_mending(copy.path(), pristine, kObjects, 8);
  }
}

}  // namespace
}  // namespace rotulus::memory_store
