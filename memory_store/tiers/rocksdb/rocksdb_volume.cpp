#include "memory_store/tiers/rocksdb/rocksdb_volume.h"

#include <sys/stat.h>

#include <algorithm>
#include <cstring>
#include <mutex>
#include <random>
#include <utility>

#include "memory_store/manifest.h"
#include "memory_store/tiers/rocksdb/database.h"
#include "memory_store/tiers/rocksdb/volume_identity.h"
#include "memory_store/tiers/rocksdb/volume_lock.h"
#include "protocol/error.h"
#include "protocol/failpoint.h"

namespace rotulus::memory_store {
namespace {

using protocol::Error;
using protocol::ErrorCode;

constexpr auto kSizeMaxAge = std::chrono::seconds(1);

// The file system's number: volumes that have it in common share its bytes.
std::uint64_t disk_of(const std::filesystem::path& path) {
  struct stat status = {};
  return ::stat(path.c_str(), &status) == 0 ? status.st_dev : 0;
}

Database::KeyRange range_of(ObjectId object) {
  return {object_begin(object), object_begin(ObjectId{object.value + 1})};
}

class RocksdbVolume final : public Volume {
 public:
  RocksdbVolume(const RocksdbVolumeConfig& config, std::unique_ptr<VolumeLock> lock, const VolumeIdentity& identity)
      : path_(config.path),
        max_bytes_(config.max_bytes),
        lock_(std::move(lock)),
        identity_(identity),
        database_(config.path / "rocksdb", kObjectPrefixBytes) {}

  protocol::VolumeState state() const override;
  void write(std::span<const Block> blocks) override;
  void commit(ObjectId object, std::span<const std::byte> manifest, std::uint64_t catalogue_sequence) override;
  std::optional<std::string> read(const BlockAddress& address, BlockHeader& header,
                                  std::span<std::byte> payload) const override;
  std::optional<std::vector<std::byte>> manifest(ObjectId object) const override;
  std::vector<ObjectId> objects() const override;
  bool contains(ObjectId object) const override { return database_.contains(range_of(object)); }
  void erase(std::span<const ObjectId> objects) override;
  void remember(protocol::StoreId store, std::uint64_t catalogue_sequence) override;

 private:
  struct MeasuredSize {
    std::uint64_t bytes = 0;
    std::chrono::steady_clock::time_point at;
  };
  std::uint64_t measure() const;

  const std::filesystem::path path_;
  const std::size_t max_bytes_;
  const std::unique_ptr<VolumeLock> lock_;
  mutable std::mutex mutex_;  // guards the identity and the size
  VolumeIdentity identity_;
  mutable MeasuredSize size_;
  Database database_;
};

protocol::VolumeState RocksdbVolume::state() const {
  const std::lock_guard lock(mutex_);
  if (size_.at + kSizeMaxAge < std::chrono::steady_clock::now()) {
    size_ = {database_.bytes_on_disk(), std::chrono::steady_clock::now()};
  }
  std::error_code ignored;
  const auto space = std::filesystem::space(path_, ignored);
  const std::uint64_t disk_bytes_free = ignored ? 0 : space.available;
  const std::uint64_t left =
      max_bytes_ == 0 ? UINT64_MAX : max_bytes_ - std::min<std::uint64_t>(max_bytes_, size_.bytes);
  return {.volume = identity_.volume,
          .store = identity_.store,
          .path = path_.string(),
          .catalogue_sequence = identity_.catalogue_sequence,
          .bytes_used = size_.bytes,
          .bytes_free = std::min(disk_bytes_free, left),
          .disk = disk_of(path_),
          .disk_bytes_free = disk_bytes_free,
          .is_salvaged = database_.is_salvaged()};
}

std::uint64_t RocksdbVolume::measure() const {
  const std::lock_guard lock(mutex_);
  size_ = {database_.bytes_on_disk(), std::chrono::steady_clock::now()};
  return size_.bytes;
}

void RocksdbVolume::write(std::span<const Block> blocks) {
  std::vector<Database::Entry> entries;
  std::uint64_t bytes = 0;
  entries.reserve(blocks.size());
  for (const Block& block : blocks) {
    entries.push_back(
        {.key = block_key(block.address), .head = std::as_bytes(std::span{&block.header, 1}), .body = block.payload});
    bytes += sizeof(BlockHeader) + block.payload.size();
  }
  if (max_bytes_ != 0) {
    const std::uint64_t used = measure();
    if (used + bytes > max_bytes_) {
      throw Error(ErrorCode::storage_full,
                  fmt::format("volume {} at {} holds {} bytes and may hold {}; erase contexts, "
                              "or give it more",
                              identity_.volume, path_.string(), used, max_bytes_));
    }
  }
  database_.write(entries, false);
}

void RocksdbVolume::commit(ObjectId object, std::span<const std::byte> manifest, std::uint64_t catalogue_sequence) {
  remember({}, catalogue_sequence);
  const Database::Entry entry{.key = manifest_key(object), .head = {}, .body = manifest};
  database_.write({&entry, 1}, true);
  protocol::failpoint("commit.after_manifest");
  // So that a file holds one object where only one is written at a time: erasing it later drops files unread.
  database_.flush_soon();
}

std::optional<std::string> RocksdbVolume::read(const BlockAddress& address, BlockHeader& header,
                                               std::span<std::byte> payload) const {
  std::optional<std::string> misfit;
  const auto take = [&](std::span<const std::byte> value) {
    if (value.size() != sizeof(header) + payload.size()) {
      misfit = fmt::format("has {} bytes, {} were written", value.size(), sizeof(header) + payload.size());
      return;
    }
    std::memcpy(&header, value.data(), sizeof(header));
    std::memcpy(payload.data(), value.data() + sizeof(header), payload.size());
  };
  if (std::optional<std::string> failure = database_.read(block_key(address), take)) return failure;
  return misfit;
}

std::optional<std::vector<std::byte>> RocksdbVolume::manifest(ObjectId object) const {
  std::vector<std::byte> value;
  const auto take = [&](std::span<const std::byte> bytes) { value.assign(bytes.begin(), bytes.end()); };
  if (database_.read(manifest_key(object), take)) return std::nullopt;
  return value;
}

std::vector<ObjectId> RocksdbVolume::objects() const {
  std::vector<ObjectId> objects;
  for (const std::string& prefix : database_.key_prefixes()) objects.push_back(object_of_key(prefix));
  return objects;
}

void RocksdbVolume::erase(std::span<const ObjectId> objects) {
  std::vector<Database::KeyRange> ranges;
  for (const ObjectId object : objects) ranges.push_back(range_of(object));
  database_.erase(ranges);
  measure();
}

void RocksdbVolume::remember(protocol::StoreId store, std::uint64_t catalogue_sequence) {
  const std::lock_guard lock(mutex_);
  VolumeIdentity identity = identity_;
  if (store) identity.store = store;
  identity.catalogue_sequence = std::max(identity.catalogue_sequence, catalogue_sequence);
  if (identity == identity_) return;
  write_identity(path_, identity);
  identity_ = identity;
}

VolumeIdentity make_identity() {
  std::random_device random;
  VolumeIdentity identity;
  do {
    identity.volume.value = std::uint64_t{random()} << 32 | random();
  } while (!identity.volume);
  identity.created_unix_ms =
      std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::system_clock::now().time_since_epoch())
          .count();
  return identity;
}

std::unique_ptr<Volume> open_directory(const RocksdbVolumeConfig& config) {
  std::filesystem::create_directories(config.path);
  auto lock = std::make_unique<VolumeLock>(config.path, config.lock_timeout);
  protocol::failpoint("store.open");
  std::optional<VolumeIdentity> identity = read_identity(config.path);
  if (!identity) {
    // VOLUME is written before the database is made, so a database without it has lost it.
    if (std::filesystem::exists(config.path / "rocksdb")) {
      throw Error(
          ErrorCode::storage_corrupt,
          fmt::format("{} holds a database, but no file VOLUME that says whose; nothing was touched. Restore the "
                      "file, or move the directory away",
                      config.path.string()));
    }
    identity = make_identity();
    write_identity(config.path, *identity);
  }
  return std::make_unique<RocksdbVolume>(config, std::move(lock), *identity);
}

}  // namespace

std::unique_ptr<Volume> open_rocksdb_volume(const RocksdbVolumeConfig& config) {
  try {
    return open_directory(config);
  } catch (const std::filesystem::filesystem_error& error) {
    throw Error(ErrorCode::unavailable,
                fmt::format("volume {} cannot be used: {}", config.path.string(), error.what()));
  }
}

}  // namespace rotulus::memory_store
