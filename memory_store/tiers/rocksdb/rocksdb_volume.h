// A volume made of a directory: VOLUME (who it is), LOCK, and a RocksDB in `rocksdb/`.
#pragma once

#include <chrono>
#include <cstddef>
#include <filesystem>
#include <memory>

#include "memory_store/tier.h"

namespace rotulus::memory_store {

struct RocksdbVolumeConfig {
  std::filesystem::path path;
  std::size_t max_bytes = 0;  // 0: as much as the disk has
  std::chrono::milliseconds lock_timeout{0};
};

// Opens the volume at the path, or makes a new one where there is none. Throws Error that says why it cannot be used
// and what to do; it deletes nothing.
std::unique_ptr<Volume> open_rocksdb_volume(const RocksdbVolumeConfig& config);

}  // namespace rotulus::memory_store
