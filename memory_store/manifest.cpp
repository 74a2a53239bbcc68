#include "memory_store/manifest.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <cstring>

#include "protocol/codec.h"
#include "protocol/error.h"

namespace rotulus::memory_store {
namespace {

constexpr std::uint32_t kManifestMagic = 0x464D5652;  // "RVMF"
constexpr std::uint32_t kManifestVersion = 1;
constexpr char kBlockTag = 1;
constexpr char kManifestTag = 2;
constexpr char kLandmarksTag = 3;
constexpr char kBoundsTag = 4;
constexpr char kCentroidsTag = 5;

struct ManifestPrefix {
  std::uint32_t magic = kManifestMagic;
  std::uint32_t version = kManifestVersion;
  std::uint64_t hash = 0;
};
static_assert(sizeof(ManifestPrefix) == 16);

template <typename Number>
void append_big_endian(std::string& text, Number number) {
  for (int shift = 8 * (static_cast<int>(sizeof(Number)) - 1); shift >= 0; shift -= 8) {
    text.push_back(static_cast<char>(number >> shift & 0xff));
  }
}

}  // namespace

std::string object_begin(ObjectId object) {
  std::string key;
  append_big_endian(key, object.value);
  return key;
}

std::string block_key(const BlockAddress& address) {
  std::string key = object_begin(address.object);
  const auto layer = static_cast<std::uint16_t>(address.layer);
  if (address.kind == BlockKind::kv) {
    key.push_back(kBlockTag);
    append_big_endian(key, address.block);
    append_big_endian(key, layer);
  } else {
    key.push_back(address.kind == BlockKind::landmarks ? kLandmarksTag
                  : address.kind == BlockKind::bounds  ? kBoundsTag
                                                       : kCentroidsTag);
    append_big_endian(key, layer);
    append_big_endian(key, address.block);
  }
  return key;
}

std::string manifest_key(ObjectId object) {
  std::string key = object_begin(object);
  key.push_back(kManifestTag);
  return key;
}

ObjectId object_of_key(std::string_view key) {
  ObjectId object;
  for (std::size_t i = 0; i < kObjectPrefixBytes && i < key.size(); ++i) {
    object.value = object.value << 8 | static_cast<unsigned char>(key[i]);
  }
  return object;
}

void BlocksHash::add(const std::string& key, std::uint64_t checksum) {
  bytes_ += key;
  append_big_endian(bytes_, checksum);
  ++count_;
}

std::uint64_t BlocksHash::value() const {
  return XXH3_64bits(bytes_.data(), bytes_.size());
}

StoredManifest store_manifest(const protocol::ManifestRecord& record) {
  const std::vector<std::byte> bytes = protocol::encode_record(record);
  ManifestPrefix prefix;
  prefix.hash = XXH3_64bits(bytes.data(), bytes.size());
  StoredManifest stored;
  stored.hash = prefix.hash;
  stored.value.resize(sizeof(prefix));
  std::memcpy(stored.value.data(), &prefix, sizeof(prefix));
  stored.value.insert(stored.value.end(), bytes.begin(), bytes.end());
  return stored;
}

std::optional<ReadManifest> read_manifest(std::span<const std::byte> value, ObjectId object, VolumeId volume) {
  ManifestPrefix prefix;
  if (value.size() < sizeof(prefix)) return std::nullopt;
  std::memcpy(&prefix, value.data(), sizeof(prefix));
  const std::span<const std::byte> bytes = value.subspan(sizeof(prefix));
  if (prefix.magic != kManifestMagic || prefix.version != kManifestVersion) return std::nullopt;
  if (prefix.hash != XXH3_64bits(bytes.data(), bytes.size())) return std::nullopt;
  try {
    ReadManifest read{.record = protocol::decode_manifest_record(bytes), .hash = prefix.hash};
    if (read.record.object != object || read.record.volume != volume) return std::nullopt;
    return read;
  } catch (const protocol::Error&) {
    return std::nullopt;  // the hash holds, so another program version wrote it: as good as absent to this one
  }
}

}  // namespace rotulus::memory_store
