// What RocksDB itself must meet to take these roads: a damaged file that compaction wants to read.
#include "memory_store/tiers/rocksdb/database.h"

#include <gtest/gtest.h>
#include <rocksdb/db.h>

#include <fstream>

#include "tests/memory_store/support.h"

namespace rotulus::memory_store {
namespace {

namespace fs = std::filesystem;

std::string key_of(char object, std::uint8_t number) {
  return std::string(8, object) + static_cast<char>(number);
}
Database::KeyRange range_of(char object) {
  return {std::string(8, object), std::string(8, static_cast<char>(object + 1))};
}

void put(Database& database, const std::string& key, std::size_t bytes) {
  const std::vector<std::byte> value(bytes, std::byte(key.back()));
  const Database::Entry entry{.key = key, .head = {}, .body = value};
  database.write({&entry, 1}, true);
}

std::optional<std::string> why_not(const Database& database, const std::string& key) {
  return database.read(key, [&](std::span<const std::byte> value) {
    for (const std::byte byte : value) ASSERT_EQ(byte, std::byte(key.back()));
  });
}

std::unique_ptr<rocksdb::DB> open_uncompacted(const fs::path& directory) {
  rocksdb::Options options;
  options.create_if_missing = true;
  options.disable_auto_compactions = true;
  options.compression = rocksdb::kNoCompression;
  rocksdb::DB* opened = nullptr;
  EXPECT_TRUE(rocksdb::DB::Open(options, directory.string(), &opened).ok());
  return std::unique_ptr<rocksdb::DB>(opened);
}

// Two overlapping files in level 0, which compaction will want to merge; one byte of the larger is damaged.
void make_damaged_level0(const fs::path& directory) {
  const auto db = open_uncompacted(directory);
  for (const char object : {'a', 'c'}) {
    for (std::uint8_t i = 1; i < 40; ++i) {
      ASSERT_TRUE(db->Put({}, key_of(object, i), std::string(20'000, static_cast<char>(i))).ok());
    }
  }
  ASSERT_TRUE(db->Flush({}).ok());
  ASSERT_TRUE(db->Put({}, key_of('b', 1), std::string(100, 1)).ok());
  ASSERT_TRUE(db->Flush({}).ok());
}

fs::path largest_sst(const fs::path& directory) {
  fs::path largest;
  for (const auto& entry : fs::directory_iterator(directory)) {
    if (entry.path().extension() != ".sst") continue;
    if (largest.empty() || entry.file_size() > fs::file_size(largest)) largest = entry.path();
  }
  return largest;
}

void damage(const fs::path& path, std::uintmax_t at) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(static_cast<std::streamoff>(at));
  file.put('!').put('?');
}

// Each opening of RocksDB starts a log of its own.
std::size_t count_openings(const fs::path& directory) {
  std::size_t count = 0;
  for (const auto& entry : fs::directory_iterator(directory)) {
    count += entry.path().filename().string().starts_with("LOG");
  }
  return count;
}

TEST(Database, GoesOnWritingWhenACompactionMeetsDamage) {
  const TemporaryDirectory directory;
  make_damaged_level0(directory / "db");
  damage(largest_sst(directory / "db"), 100'000);  // among the values of 'a'
  {
    Database database(directory / "db", 8);
    EXPECT_FALSE(database.is_salvaged());
    for (int i = 1; i < 60; ++i) {
      put(database, key_of('b', static_cast<std::uint8_t>(1 + i)), 300'000);
      database.flush_soon();
    }
    EXPECT_GE(count_openings(directory / "db"), 3u) << "compaction has met no damage: this test tests nothing";
    EXPECT_TRUE(database.is_salvaged());
    std::size_t damaged = 0;
    for (std::uint8_t i = 1; i < 40; ++i) {
      damaged += why_not(database, key_of('a', i)).has_value();
      EXPECT_EQ(why_not(database, key_of('c', i)), std::nullopt);
    }
    EXPECT_EQ(damaged, 1u);
    for (int i = 1; i < 60; ++i)
      EXPECT_EQ(why_not(database, key_of('b', static_cast<std::uint8_t>(1 + i))), std::nullopt);
    const Database::KeyRange erased = range_of('a');
    database.erase({&erased, 1});
    EXPECT_FALSE(database.contains(erased));
    EXPECT_EQ(why_not(database, key_of('a', 39)), "is absent");
  }
  Database database(directory / "db", 8);
  EXPECT_FALSE(database.is_salvaged());
  EXPECT_FALSE(database.contains(range_of('a')));
  for (std::uint8_t i = 1; i < 40; ++i) EXPECT_EQ(why_not(database, key_of('c', i)), std::nullopt);
  EXPECT_EQ(why_not(database, key_of('b', 60)), std::nullopt);
  put(database, key_of('d', 1), 1000);
  EXPECT_EQ(why_not(database, key_of('d', 1)), std::nullopt);
}

// A file of level 0 holds what was written at the time, of any number of objects. Wherever it is damaged, the objects
// that are whole must be found: a catalogue is made anew from them.
TEST(Database, FindsEveryWholePrefixOfADamagedFile) {
  const TemporaryDirectory directory;
  const std::string objects = "abcdeghk";
  {
    const auto db = open_uncompacted(directory / "db");
    for (const char object : objects) {
      for (std::uint8_t i = 1; i <= 3; ++i) {
        ASSERT_TRUE(db->Put({}, key_of(object, i), std::string(20'000, static_cast<char>(i))).ok());
      }
    }
    ASSERT_TRUE(db->Flush({}).ok());
    ASSERT_TRUE(db->Put({}, key_of('f', 1), std::string(100, 1)).ok());  // in a file of its own
    ASSERT_TRUE(db->Flush({}).ok());
  }
  const std::uintmax_t bytes = fs::file_size(largest_sst(directory / "db"));
  for (std::uintmax_t at = 5'000; at + 10'000 < bytes; at += 55'000) {
    SCOPED_TRACE(at);
    const TemporaryDirectory copy(TemporaryDirectory::Place::memory);
    fs::copy(directory / "db", copy / "db");
    damage(largest_sst(copy / "db"), at);
    damage(largest_sst(copy / "db"), bytes / 2 + 5'000);
    const Database database(copy / "db", 8);
    const std::vector<std::string> found = database.key_prefixes();
    std::size_t damaged = 0;
    for (const char object : objects + 'f') {
      bool is_whole = true;
      for (std::uint8_t i = 1; i <= (object == 'f' ? 1 : 3); ++i) is_whole &= !why_not(database, key_of(object, i));
      damaged += !is_whole;
      if (is_whole) {
        EXPECT_TRUE(std::binary_search(found.begin(), found.end(), std::string(8, object))) << object;
      }
    }
    EXPECT_GE(damaged, 1u);
    EXPECT_LE(damaged, 2u);
  }
}

// Erasing must give whole files back unread: after it, hardly more than the other object is on the disk.
TEST(Database, DropsTheFilesOfAnErasedPrefix) {
  const TemporaryDirectory directory;
  Database database(directory / "db", 8);
  for (std::uint8_t i = 1; i < 100; ++i) {
    for (const char object : {'a', 'b', 'c'}) put(database, key_of(object, i), 200'000);
  }
  EXPECT_EQ(database.key_prefixes(),
            (std::vector<std::string>{std::string(8, 'a'), std::string(8, 'b'), std::string(8, 'c')}));
  const Database::KeyRange erased[] = {range_of('a'), range_of('c')};
  database.erase(erased);
  EXPECT_EQ(database.key_prefixes(), std::vector<std::string>{std::string(8, 'b')});
  EXPECT_LT(database.bytes_on_disk(), 23u << 20);
  for (std::uint8_t i = 1; i < 100; ++i) EXPECT_EQ(why_not(database, key_of('b', i)), std::nullopt);
}

}  // namespace
}  // namespace rotulus::memory_store
