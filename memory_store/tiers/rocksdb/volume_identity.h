// The file VOLUME beside a volume's RocksDB: who it is. A few lines of text with a checksum, replaced as a whole.
//
//   rotulus volume 1
//   volume 8f3a52c01d77e9b4
//   store 0000000000000000
//   catalogue_sequence 0
//   created_unix_ms 1760000000000
//   checksum 5d1f0c44a1b2c3d4          XXH3-64 of the lines before
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

#include "protocol/ids.h"

namespace rotulus::memory_store {

struct VolumeIdentity {
  protocol::VolumeId volume;
  protocol::StoreId store;  // 0: none yet
  std::uint64_t catalogue_sequence = 0;
  std::int64_t created_unix_ms = 0;
  bool operator==(const VolumeIdentity&) const = default;
};

// Nothing if there is no file. Throws Error{storage_corrupt} if it is not whole.
std::optional<VolumeIdentity> read_identity(const std::filesystem::path& directory);
// Synced when it returns; a crash leaves the old one or the new. Throws Error{storage_full} or {unavailable}.
void write_identity(const std::filesystem::path& directory, const VolumeIdentity& identity);

}  // namespace rotulus::memory_store
