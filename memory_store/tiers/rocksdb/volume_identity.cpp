#include "memory_store/tiers/rocksdb/volume_identity.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>

#include "memory_store/tiers/rocksdb/durable_files.h"
#include "protocol/error.h"

namespace rotulus::memory_store {
namespace {

using protocol::Error;
using protocol::ErrorCode;

std::string to_text(const VolumeIdentity& identity) {
  std::string text =
      fmt::format("rotulus volume 1\nvolume {}\nstore {}\ncatalogue_sequence {}\ncreated_unix_ms {}\n", identity.volume,
                  identity.store, identity.catalogue_sequence, identity.created_unix_ms);
  text += fmt::format("checksum {:016x}\n", XXH3_64bits(text.data(), text.size()));
  return text;
}

}  // namespace

std::optional<VolumeIdentity> read_identity(const std::filesystem::path& directory) {
  const std::filesystem::path path = directory / "VOLUME";
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    if (std::filesystem::exists(path)) {
      throw Error(ErrorCode::unavailable, fmt::format("{} cannot be read: {}", path.string(), std::strerror(errno)));
    }
    return std::nullopt;
  }
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  VolumeIdentity identity;
  std::sscanf(text.c_str(),
              "rotulus volume 1 volume %" SCNx64 " store %" SCNx64 " catalogue_sequence %" SCNu64
              " created_unix_ms %" SCNd64,
              &identity.volume.value, &identity.store.value, &identity.catalogue_sequence, &identity.created_unix_ms);
  // There is one spelling of an identity, checksum included: what does not come out again was not what we wrote.
  if (!identity.volume || to_text(identity) != text) {
    throw Error(ErrorCode::storage_corrupt,
                fmt::format("{} is damaged, or of another program version; nothing was touched. Restore the file, or "
                            "move the directory away: its contexts are computed again on a new volume",
                            path.string()));
  }
  return identity;
}

void write_identity(const std::filesystem::path& directory, const VolumeIdentity& identity) {
  replace_file(directory / "VOLUME", to_text(identity));
}

}  // namespace rotulus::memory_store
