#include "memory_store/tiers/rocksdb/database.h"

#include <fcntl.h>
#include <rocksdb/cache.h>
#include <rocksdb/convenience.h>
#include <rocksdb/db.h>
#include <rocksdb/listener.h>
#include <rocksdb/options.h>
#include <rocksdb/slice.h>
#include <rocksdb/sst_file_reader.h>
#include <rocksdb/sst_partitioner.h>
#include <rocksdb/table.h>
#include <rocksdb/write_batch.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <iterator>
#include <mutex>
#include <set>
#include <shared_mutex>
#include <system_error>
#include <utility>

#include "memory_store/tiers/rocksdb/durable_files.h"
#include "memory_store/tiers/rocksdb/readable_keys.h"
#include "protocol/error.h"
#include "protocol/failpoint.h"

namespace rotulus::memory_store {
namespace {

using protocol::Error;
using protocol::ErrorCode;

constexpr std::size_t kMemtableBytes = 16u << 20;
constexpr int kMemtables = 3;  // one filling, two on their way to disk
constexpr std::size_t kFileBytes = 32u << 20;
constexpr std::size_t kBlockCacheBytes = 4u << 20;  // indexes; blocks of ours pass it by
constexpr int kOpenFiles = 256;
constexpr std::size_t kReopenBytes = 1u << 20;        // for the small files of an opening
constexpr std::size_t kDiskReserveBytes = 64u << 20;  // memtables on their way to disk, and a compaction's output
constexpr auto kReopenInterval = std::chrono::seconds(1);
constexpr auto kSettleTimeout = std::chrono::seconds(5);
constexpr auto kSettlePollInterval = std::chrono::milliseconds(10);

// Wakes whoever waits for files to leave level 0, or to leave the disk.
class FileListener final : public rocksdb::EventListener {
 public:
  void OnCompactionCompleted(rocksdb::DB*, const rocksdb::CompactionJobInfo&) override { changed_.notify_all(); }
  void OnTableFileDeleted(const rocksdb::TableFileDeletionInfo&) override { changed_.notify_all(); }
  void wait() {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, kSettlePollInterval);
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
};

// Direct reads are several times faster than buffered ones, and leave the page cache to others. Not every file system
// has them.
bool has_direct_io(const std::filesystem::path& directory) {
  const std::filesystem::path probe = directory / "direct_io.probe";
  const int file = ::open(probe.c_str(), O_RDWR | O_CREAT | O_DIRECT | O_CLOEXEC, 0644);
  if (file >= 0) ::close(file);
  ::unlink(probe.c_str());
  return file >= 0;
}

rocksdb::Options make_options(std::size_t key_prefix_bytes, bool is_direct, bool is_salvaged) {
  rocksdb::Options options;
  // What was synced before a torn record is kept, what lies behind it is not: it was never acknowledged, or its absence
  // shows at reconcile().
  options.wal_recovery_mode = rocksdb::WALRecoveryMode::kPointInTimeRecovery;
  options.wal_bytes_per_sync = 4u << 20;  // spreads the work of the sync that ends a commit
  options.allow_fallocate = false;        // so that the bytes on disk are those in use
  options.paranoid_checks = !is_salvaged;
  options.paranoid_file_checks = true;  // a new file is read back before the WAL that could make it again is dropped
  options.use_direct_reads = is_direct;
  options.use_direct_io_for_flush_and_compaction = is_direct;
  options.max_open_files = kOpenFiles;
  options.max_background_jobs = 2;
  options.allow_concurrent_memtable_write = false;  // one thread writes
  options.skip_stats_update_on_db_open = true;
  options.info_log_level = rocksdb::InfoLogLevel::WARN_LEVEL;
  options.max_log_file_size = 1u << 20;
  options.keep_log_file_num = 4;
  options.stats_dump_period_sec = 0;
  options.stats_persist_period_sec = 0;

  options.write_buffer_size = kMemtableBytes;
  options.max_write_buffer_number = kMemtables;
  options.compression = rocksdb::CompressionType::kNoCompression;
  options.bottommost_compression = rocksdb::CompressionType::kNoCompression;
  // Every flushed file goes at once to level 1, where files hold one object each. Fresh objects overlap none of the
  // old, so mostly it is moved and not read; data at rest are never touched again, and erasing drops whole files.
  options.level0_file_num_compaction_trigger = 1;
  options.sst_partitioner_factory = rocksdb::NewSstPartitionerFixedPrefixFactory(key_prefix_bytes);
  options.target_file_size_base = kFileBytes;
  options.max_bytes_for_level_base = 1ull << 30;
  options.ttl = 0;
  options.periodic_compaction_seconds = 0;
  options.disable_auto_compactions = is_salvaged;

  rocksdb::BlockBasedTableOptions table;
  table.checksum = rocksdb::ChecksumType::kXXH3;  // CRC32C is software in the packaged build
  table.block_cache = rocksdb::NewLRUCache(kBlockCacheBytes, 0);
  table.cache_index_and_filter_blocks = true;
  options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  return options;
}

[[noreturn]] void throw_status(const std::filesystem::path& directory, const char* deed,
                               const rocksdb::Status& status) {
  if (status.IsNoSpace()) {
    throw Error(ErrorCode::storage_full, fmt::format("{}: the disk is full ({}); free some space, or erase contexts",
                                                     directory.string(), status.ToString()));
  }
  throw Error(status.IsCorruption() ? ErrorCode::storage_corrupt : ErrorCode::unavailable,
              fmt::format("{}: {} failed: {}", directory.string(), deed, status.ToString()));
}

std::filesystem::space_info space_of(const std::filesystem::path& directory) {
  std::error_code unknown;  // then there seems to be any amount, and the writing itself will say what is wrong
  return std::filesystem::space(directory, unknown);
}

std::uint64_t reserve_of(const std::filesystem::space_info& space) {
  return std::min<std::uint64_t>(kDiskReserveBytes, space.capacity / 8);
}

bool is_damage(const rocksdb::Status& status) {
  return status.IsCorruption() || status.IsPathNotFound();
}

std::uint64_t allocated_bytes(const std::filesystem::path& path) {
  struct stat status = {};
  return ::stat(path.c_str(), &status) == 0 ? static_cast<std::uint64_t>(status.st_blocks) * 512 : 0;
}

std::vector<std::filesystem::path> files_of(const std::filesystem::path& directory) {
  std::vector<std::filesystem::path> files;
  std::error_code error;
  std::filesystem::directory_iterator entry(directory, error);
  for (; !error && entry != std::filesystem::directory_iterator(); entry.increment(error)) {
    files.push_back(entry->path());
  }
  return files;
}

}  // namespace

struct Database::State {
  const std::filesystem::path directory;
  const std::size_t key_prefix_bytes;
  const std::shared_ptr<FileListener> listener = std::make_shared<FileListener>();

  std::mutex mutation;  // held by the one who changes the database; taken before `lifetime`
  // Held shared by everyone who uses `db`, alone by the one who closes and opens it.
  mutable std::shared_mutex lifetime;
  std::unique_ptr<rocksdb::DB> db;  // null while it is closed and did not open again
  std::atomic<bool> is_salvaged = false;
  // A change failed. RocksDB must not be changed again in this life: the packaged build has its assertions on, and
  // after some failures (of its own manifest, of the WAL) they end the process.
  bool must_reopen = false;
  std::string closed_because;
  std::chrono::steady_clock::time_point opened_at;  // or tried to

  enum class Recovery { flush, keep_in_memory };
  rocksdb::Status open(bool salvage, Recovery recovery);
  void create();
  void reopen(bool salvage);
  rocksdb::DB& opened() const;
  // Every change goes through here: opens again first where that is needed, and notes when it fails.
  template <typename Change>
  rocksdb::Status change(const Change& make);
  void ensure_usable();
  void try_to_open();
  void check_space(std::size_t bytes) const;
  std::vector<rocksdb::LiveFileMetaData> files_in(std::span<const KeyRange> ranges) const;
  void wait_until_gone(std::span<const rocksdb::LiveFileMetaData> files) const;
  bool settle(std::span<const KeyRange> ranges);
  void bury(std::span<const KeyRange> ranges);
  void drop(std::span<const KeyRange> ranges);
  void compact(std::span<const KeyRange> ranges);
  bool holds_key(const KeyRange& range) const;
};

rocksdb::Status Database::State::open(bool salvage, Recovery recovery) {
  rocksdb::Options options = make_options(key_prefix_bytes, has_direct_io(directory), salvage);
  options.listeners.push_back(listener);
  options.avoid_flush_during_recovery = recovery == Recovery::keep_in_memory;
  rocksdb::DB* opened = nullptr;
  const rocksdb::Status status = rocksdb::DB::Open(options, directory.string(), &opened);
  opened_at = std::chrono::steady_clock::now();
  db.reset(opened);
  is_salvaged = salvage;
  must_reopen = !status.ok();
  if (must_reopen) closed_because = status.ToString();
  return status;
}

// Made beside its place and moved there when it is whole, so that a half-made database is never met.
void Database::State::create() {
  const std::filesystem::path fresh = directory.string() + ".new";
  std::filesystem::remove_all(fresh);
  rocksdb::Options options = make_options(key_prefix_bytes, false, false);
  options.create_if_missing = true;
  options.error_if_exists = true;
  rocksdb::DB* created = nullptr;
  const rocksdb::Status status = rocksdb::DB::Open(options, fresh.string(), &created);
  if (!status.ok()) throw_status(directory, "making a database", status);
  delete created;
  std::filesystem::rename(fresh, directory);
  sync_directory(directory.parent_path());
}

Database::Database(std::filesystem::path directory, std::size_t key_prefix_bytes)
    : state_(new State{.directory = std::move(directory), .key_prefix_bytes = key_prefix_bytes}) {
  if (!std::filesystem::exists(state_->directory)) state_->create();
  rocksdb::Status status = state_->open(false, State::Recovery::flush);
  const std::string first_reason = status.ToString();
  if (is_damage(status)) status = state_->open(true, State::Recovery::flush);
  if (status.IsNoSpace()) {
    const std::lock_guard alone(state_->mutation);
    state_->reopen(state_->is_salvaged);
    return;
  }
  if (status.ok()) return;
  throw Error(ErrorCode::storage_corrupt,
              fmt::format("{} does not open: {}; nothing was touched. Restore it, or move it away: its contexts are "
                          "computed again on a new volume",
                          state_->directory.string(), first_reason));
}

Database::~Database() = default;

rocksdb::DB& Database::State::opened() const {
  if (!db) {
    throw Error(ErrorCode::unavailable, fmt::format("{} is closed: {}", directory.string(), closed_because));
  }
  return *db;
}

// What the WAL holds stays in memory, so that this works on a disk on which nothing can be flushed. RocksDB goes on
// with a new WAL and would not sync the old one with the next commit: that is done here.
void Database::State::reopen(bool salvage) {
  const std::unique_lock lock(lifetime);
  const std::filesystem::space_info space = space_of(directory);
  if (space.available < kReopenBytes) {
    throw Error(ErrorCode::storage_full, fmt::format("{}: the disk has {} bytes free and {} are needed to go on; free "
                                                     "some space",
                                                     directory.string(), space.available, kReopenBytes));
  }
  db.reset();
  must_reopen = true;
  for (const std::filesystem::path& file : files_of(directory)) {
    if (file.extension() == ".log") sync_file(file);
  }
  rocksdb::Status status = open(salvage, Recovery::keep_in_memory);
  if (!salvage && is_damage(status)) status = open(true, Recovery::keep_in_memory);
  if (!status.ok()) throw_status(directory, "opening again", status);
}

template <typename Change>
rocksdb::Status Database::State::change(const Change& make) {
  const std::lock_guard alone(mutation);
  const auto attempt = [&] {
    const std::shared_lock lock(lifetime);
    const rocksdb::Status status = make(opened());
    must_reopen = !status.ok();
    return status;
  };
  if (must_reopen) reopen(is_salvaged);
  rocksdb::Status status = attempt();
  if (!status.IsCorruption() || is_salvaged) return status;
  // A compaction met damage. It would meet it again: go on without compaction.
  reopen(true);
  return attempt();
}

void Database::State::ensure_usable() {
  const std::lock_guard alone(mutation);
  if (must_reopen) reopen(is_salvaged);
}

// For readers: the reason why it stays closed is in `closed_because`.
void Database::State::try_to_open() {
  try {
    ensure_usable();
  } catch (const Error& error) {
    const std::unique_lock lock(lifetime);
    closed_because = error.message();
  }
}

// Refuses in good time: what is in memory must find room on the disk, and erasing needs some too.
void Database::State::check_space(std::size_t bytes) const {
  const std::filesystem::space_info space = space_of(directory);
  const std::uint64_t reserve = reserve_of(space);
  if (space.available >= bytes + reserve) return;
  throw Error(ErrorCode::storage_full,
              fmt::format("{}: the disk has {} bytes free, {} are asked for and {} are kept free; free some space, or "
                          "erase contexts",
                          directory.string(), space.available, bytes, reserve));
}

void Database::write(std::span<const Entry> entries, bool is_synced) {
  rocksdb::WriteBatch batch;
  for (const Entry& entry : entries) {
    const rocksdb::Slice key(entry.key);
    const std::array<rocksdb::Slice, 2> value{
        rocksdb::Slice(reinterpret_cast<const char*>(entry.head.data()), entry.head.size()),
        rocksdb::Slice(reinterpret_cast<const char*>(entry.body.data()), entry.body.size())};
    batch.Put(rocksdb::SliceParts(&key, 1), rocksdb::SliceParts(value.data(), value.size()));
  }
  state_->check_space(batch.GetDataSize());
  rocksdb::WriteOptions options;
  options.sync = is_synced;
  const rocksdb::Status status = state_->change([&](rocksdb::DB& db) { return db.Write(options, &batch); });
  if (!status.ok()) throw_status(state_->directory, "writing", status);
}

std::optional<std::string> Database::read(std::string_view key,
                                          const std::function<void(std::span<const std::byte>)>& use) const {
  std::shared_lock lock(state_->lifetime);
  if (!state_->db && state_->opened_at + kReopenInterval < std::chrono::steady_clock::now()) {
    lock.unlock();
    state_->try_to_open();
    lock.lock();
  }
  rocksdb::ReadOptions options;
  options.fill_cache = false;
  rocksdb::PinnableSlice value;
  rocksdb::DB& db = state_->opened();
  const rocksdb::Slice name(key.data(), key.size());
  const rocksdb::Status status = db.Get(options, db.DefaultColumnFamily(), name, &value);
  if (!status.ok()) return status.IsNotFound() ? "is absent" : status.ToString();
  use(std::as_bytes(std::span(value.data(), value.size())));
  return std::nullopt;
}

bool Database::State::holds_key(const KeyRange& range) const {
  rocksdb::ReadOptions options;
  options.fill_cache = false;
  const rocksdb::Slice end(range.end);
  options.iterate_upper_bound = &end;
  const std::unique_ptr<rocksdb::Iterator> iterator(opened().NewIterator(options));
  iterator->Seek(range.begin);
  return iterator->Valid() || !iterator->status().ok();
}

bool Database::contains(const KeyRange& range) const {
  const std::shared_lock lock(state_->lifetime);
  return state_->holds_key(range);
}

// Each file by itself, so that damage of one hides nothing in another.
std::vector<std::string> Database::key_prefixes() const {
  const rocksdb::Status flushed = state_->change([](rocksdb::DB& db) { return db.Flush({}); });
  const std::shared_lock lock(state_->lifetime);
  rocksdb::DB& db = state_->opened();
  const std::size_t length = state_->key_prefix_bytes;
  std::set<std::string> prefixes;
  if (!flushed.ok()) {
    const auto iterate = [&] { return std::unique_ptr<rocksdb::Iterator>(db.NewIterator({})); };
    add_readable_prefixes(iterate, {.first = "", .last = kAfterEveryKey}, length, prefixes);
  }
  db.DisableFileDeletions();  // a compaction may take a file away between its being named and read
  std::vector<rocksdb::LiveFileMetaData> files;
  db.GetLiveFilesMetaData(&files);
  for (const rocksdb::LiveFileMetaData& file : files) {
    prefixes.insert(file.smallestkey.substr(0, length));
    prefixes.insert(file.largestkey.substr(0, length));
    if (file.smallestkey.compare(0, length, file.largestkey, 0, length) == 0) continue;
    rocksdb::SstFileReader reader(db.GetOptions());
    if (!reader.Open((state_->directory / file.relative_filename).string()).ok()) continue;
    const auto iterate = [&] { return std::unique_ptr<rocksdb::Iterator>(reader.NewIterator({})); };
    add_readable_prefixes(iterate, {.first = file.smallestkey, .last = file.largestkey}, length, prefixes);
  }
  db.EnableFileDeletions(false);
  return {prefixes.begin(), prefixes.end()};
}

void Database::flush_soon() {
  rocksdb::FlushOptions options;
  options.wait = false;
  options.allow_write_stall = true;
  // What fails now or in the background fails the next change.
  const rocksdb::Status ignored = state_->change([&](rocksdb::DB& db) { return db.Flush(options); });
}

std::vector<rocksdb::LiveFileMetaData> Database::State::files_in(std::span<const KeyRange> ranges) const {
  const std::shared_lock lock(lifetime);
  std::vector<rocksdb::LiveFileMetaData> files;
  opened().GetLiveFilesMetaData(&files);
  std::erase_if(files, [&](const rocksdb::LiveFileMetaData& file) {
    return std::none_of(ranges.begin(), ranges.end(), [&](const KeyRange& range) {
      return file.smallestkey < range.end && range.begin <= file.largestkey;
    });
  });
  return files;
}

// A reader or a compaction that began earlier may still hold a file that was dropped.
void Database::State::wait_until_gone(std::span<const rocksdb::LiveFileMetaData> files) const {
  const auto deadline = std::chrono::steady_clock::now() + kSettleTimeout;
  const auto is_there = [&](const rocksdb::LiveFileMetaData& file) {
    return allocated_bytes(directory / file.relative_filename) > 0;
  };
  while (std::any_of(files.begin(), files.end(), is_there) && std::chrono::steady_clock::now() < deadline) {
    listener->wait();
  }
}

// Moves what is in memory to a file, and waits until no file of level 0 reaches into the ranges. In deeper levels a
// file holds one prefix, and all that is there goes in one edit of the database's manifest.
bool Database::State::settle(std::span<const KeyRange> ranges) {
  if (!change([](rocksdb::DB& db) { return db.Flush({}); }).ok()) return false;
  const auto deadline = std::chrono::steady_clock::now() + kSettleTimeout;
  const auto is_level0 = [](const rocksdb::LiveFileMetaData& file) { return file.level == 0; };
  for (auto files = files_in(ranges); std::any_of(files.begin(), files.end(), is_level0); files = files_in(ranges)) {
    if (is_salvaged || std::chrono::steady_clock::now() > deadline) return false;
    listener->wait();
  }
  return true;
}

void Database::State::bury(std::span<const KeyRange> ranges) {
  rocksdb::WriteBatch tombstones;
  for (const KeyRange& range : ranges) tombstones.DeleteRange(range.begin, range.end);
  rocksdb::WriteOptions options;
  options.sync = true;
  const rocksdb::Status status = change([&](rocksdb::DB& db) { return db.Write(options, &tombstones); });
  if (!status.ok()) throw_status(directory, "erasing", status);
}

void Database::State::drop(std::span<const KeyRange> ranges) {
  std::vector<rocksdb::Slice> keys;
  keys.reserve(2 * ranges.size());
  std::vector<rocksdb::RangePtr> pointers;
  for (const KeyRange& range : ranges) {
    keys.emplace_back(range.begin);
    keys.emplace_back(range.end);
    pointers.emplace_back(&keys[keys.size() - 2], &keys[keys.size() - 1]);
  }
  const rocksdb::Status status = change([&](rocksdb::DB& db) {
    return rocksdb::DeleteFilesInRanges(&db, db.DefaultColumnFamily(), pointers.data(), pointers.size(), false);
  });
  if (!status.ok()) throw_status(directory, "dropping files", status);
}

// What fails here (damage among the erased, a full disk) costs nothing but bytes: the objects are gone.
void Database::State::compact(std::span<const KeyRange> ranges) {
  for (const KeyRange& range : ranges) {
    const rocksdb::Slice begin(range.begin), end(range.end);
    const auto make = [&](rocksdb::DB& db) { return db.CompactRange({}, &begin, &end); };
    if (!change(make).ok()) return;
  }
}

// The objects' files are dropped as they lie, unread. Only where something cannot leave level 0 (nothing is compacted
// while salvaging) is a tombstone written first, so that no crash leaves half an object, and the range compacted.
void Database::erase(std::span<const KeyRange> ranges) {
  protocol::failpoint("erase.before");
  state_->ensure_usable();
  std::vector<rocksdb::LiveFileMetaData> files = state_->files_in(ranges);
  // On a full disk nothing can settle before some files are gone. A crash in between leaves part of an object that the
  // catalogue no longer names.
  const std::filesystem::space_info space = space_of(state_->directory);
  if (space.available < reserve_of(space)) state_->drop(ranges);
  const bool is_settled = state_->settle(ranges);
  if (!is_settled) state_->bury(ranges);
  protocol::failpoint("erase.between");
  const std::vector<rocksdb::LiveFileMetaData> settled_files = state_->files_in(ranges);
  files.insert(files.end(), settled_files.begin(), settled_files.end());
  state_->drop(ranges);
  std::vector<KeyRange> left;
  const auto is_left = [&](const KeyRange& range) { return !is_settled || contains(range); };
  std::copy_if(ranges.begin(), ranges.end(), std::back_inserter(left), is_left);
  if (!left.empty()) {
    if (is_settled) state_->bury(left);  // a file that was just being moved was not dropped
    state_->compact(left);
  }
  std::erase_if(files, [](const rocksdb::LiveFileMetaData& file) { return file.level == 0; });  // may hold others too
  state_->wait_until_gone(files);
}

bool Database::is_salvaged() const {
  return state_->is_salvaged;
}

std::uint64_t Database::bytes_on_disk() const {
  std::uint64_t bytes = 0;
  for (const std::filesystem::path& file : files_of(state_->directory)) bytes += allocated_bytes(file);
  return bytes;
}

}  // namespace rotulus::memory_store
