#include "coordinator/catalogue_database.h"

#include <fcntl.h>
#include <rocksdb/db.h>
#include <rocksdb/options.h>
#include <rocksdb/write_batch.h>
#include <unistd.h>

#include <chrono>
#include <thread>

#include "protocol/error.h"

namespace rotulus::coordinator {
namespace {

using protocol::Error;
using protocol::ErrorCode;

// A coordinator that was killed holds its lock until the kernel has ended it.
constexpr auto kLockWait = std::chrono::seconds(10);
constexpr auto kLockRetry = std::chrono::milliseconds(50);

rocksdb::Options options() {
  rocksdb::Options options;
  options.create_if_missing = true;
  options.paranoid_checks = true;
  options.write_buffer_size = 8u << 20;
  options.compression = rocksdb::kNoCompression;
  options.keep_log_file_num = 2;
  options.stats_dump_period_sec = 0;
  options.info_log_level = rocksdb::WARN_LEVEL;
  return options;
}

rocksdb::Slice slice(std::string_view text) {
  return {text.data(), text.size()};
}

// 0: nobody, or not to be found out.
pid_t holder_of_lock(const std::filesystem::path& directory) {
  const int file = ::open((directory / "LOCK").c_str(), O_RDWR | O_CLOEXEC);
  if (file < 0) return 0;
  struct flock lock = {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  const int result = ::fcntl(file, F_GETLK, &lock);
  ::close(file);
  return result == 0 && lock.l_type != F_UNLCK ? lock.l_pid : 0;
}

void check(const rocksdb::Status& status, const std::filesystem::path& directory, const char* action) {
  if (status.ok()) return;
  if (status.IsNoSpace() || status.subcode() == rocksdb::Status::kNoSpace) {
    throw Error(ErrorCode::storage_full,
                fmt::format("{} the catalogue {}: the disk is full; free space on it", action, directory.string()));
  }
  throw Error(ErrorCode::storage_corrupt,
              fmt::format("{} the catalogue {}: {}", action, directory.string(), status.ToString()));
}

}  // namespace

struct CatalogueDatabase::State {
  std::filesystem::path directory;
  std::unique_ptr<rocksdb::DB> database;
  bool has_failed = false;  // RocksDB may stay read-only after a failed write until it is opened again

  rocksdb::DB& opened() const {
    if (database) return *database;
    throw Error(ErrorCode::storage_corrupt, fmt::format("the catalogue {} is not open", directory.string()));
  }

  rocksdb::Status open() {
    database.reset();
    rocksdb::DB* opened = nullptr;
    const rocksdb::Status status = rocksdb::DB::Open(options(), directory.string(), &opened);
    database.reset(opened);
    return status;
  }

  // Waits for a lock that an earlier life still holds.
  rocksdb::Status open_when_unlocked() {
    const auto deadline = std::chrono::steady_clock::now() + kLockWait;
    while (true) {
      const rocksdb::Status status = open();
      const pid_t holder = status.ok() ? 0 : holder_of_lock(directory);
      if (holder == 0) return status;
      if (std::chrono::steady_clock::now() > deadline) {
        throw Error(ErrorCode::conflict, fmt::format("open the catalogue {}: process {} has it open; stop it, or give "
                                                     "another --store",
                                                     directory.string(), holder));
      }
      std::this_thread::sleep_for(kLockRetry);
    }
  }
};

CatalogueDatabase::CatalogueDatabase(const std::filesystem::path& directory, bool may_replace, Log& log)
    : state_(std::make_unique<State>()) {
  state_->directory = directory;
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  if (error) {
    throw Error(ErrorCode::internal, fmt::format("create the directory {}: {}", directory.string(), error.message()));
  }
  rocksdb::Status status = state_->open_when_unlocked();
  if (!status.ok() && may_replace) {
    std::filesystem::path aside = directory;
    for (int number = 1; std::filesystem::exists(aside); ++number) {
      aside = directory.string() + fmt::format(".damaged-{}", number);
    }
    std::filesystem::rename(directory, aside);
    log.warn("catalogue_moved_aside", {{"to", aside.string()}, {"reason", status.ToString()}});
    status = state_->open();
  }
  if (status.ok()) return;
  throw Error(ErrorCode::storage_corrupt,
              fmt::format("open the catalogue {}: {}. Start with --rebuild-catalogue: it is moved aside, and every "
                          "committed context is restored from the volumes",
                          directory.string(), status.ToString()));
}

CatalogueDatabase::~CatalogueDatabase() = default;

std::optional<std::string> CatalogueDatabase::get(std::string_view key) const {
  std::string value;
  const rocksdb::Status status = state_->opened().Get({}, slice(key), &value);
  if (status.IsNotFound()) return std::nullopt;
  check(status, state_->directory, "read");
  return value;
}

void CatalogueDatabase::scan(std::string_view prefix,
                             const std::function<void(std::string_view, std::string_view)>& visit) const {
  const std::unique_ptr<rocksdb::Iterator> iterator(state_->opened().NewIterator({}));
  for (iterator->Seek(slice(prefix)); iterator->Valid(); iterator->Next()) {
    if (!iterator->key().starts_with(slice(prefix))) break;
    visit({iterator->key().data(), iterator->key().size()}, {iterator->value().data(), iterator->value().size()});
  }
  check(iterator->status(), state_->directory, "read");
}

void CatalogueDatabase::write(std::span<const DatabaseOperation> operations, bool is_synced) {
  if (state_->has_failed) {
    check(state_->open(), state_->directory, "open again");
    state_->has_failed = false;
  }
  rocksdb::WriteBatch batch;
  for (const DatabaseOperation& operation : operations) {
    switch (operation.kind) {
      case DatabaseOperation::Kind::put:
        batch.Put(operation.key, operation.value);
        break;
      case DatabaseOperation::Kind::erase:
        batch.Delete(operation.key);
        break;
      case DatabaseOperation::Kind::erase_range:
        batch.DeleteRange(operation.key, operation.value);
        break;
    }
  }
  rocksdb::WriteOptions write_options;
  write_options.sync = is_synced;
  const rocksdb::Status status = state_->opened().Write(write_options, &batch);
  state_->has_failed = !status.ok();
  check(status, state_->directory, "write to");
}

}  // namespace rotulus::coordinator
