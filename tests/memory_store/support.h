// What the store's tests share: directories that go away, blocks whose bytes follow from their address, and objects
// written and read back whole.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include "memory_store/kv_store.h"
#include "protocol/error.h"

namespace rotulus::memory_store {

class TemporaryDirectory final {
 public:
  // In memory where the system has such a place: for tests that open hundreds of volumes and wait for no disk.
  enum class Place { disk, memory };
  explicit TemporaryDirectory(Place place = Place::disk);
  ~TemporaryDirectory();
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

inline constexpr std::uint32_t kLayers = 3;
inline constexpr protocol::StoreId kStore{0x510e};
kernels::KvFormat small_format();  // blocks of 8 KiB
inline std::size_t block_bytes() {
  return small_format().block_bytes();
}

inline constexpr std::size_t kLandmarkBytes = 1000;  // no multiple of the alignment
inline constexpr std::size_t kLandmarkSlotBytes = 1024;
inline constexpr std::size_t kBoundsBytes = 600;
inline constexpr std::size_t kCentroidBytes = 300;

KvStoreConfig make_config(const std::filesystem::path& volume, std::size_t host_blocks,
                          std::size_t host_landmarks = 2 * kLayers);

// Opens a store of one volume; it must open.
std::unique_ptr<KvStore> open_store(const KvStoreConfig& config);
VolumeId only_volume(const KvStore& store);

struct TestObject {
  ObjectId id;
  std::uint32_t first_block = 0;
  std::uint32_t blocks = 4;
  std::uint32_t layers = kLayers;
  bool has_landmarks = false;
  bool has_bounds = false;
  bool has_centroids = false;
  std::vector<BlockAddress> addresses(VolumeId volume) const;  // of KV
  std::vector<BlockAddress> landmarks(VolumeId volume) const;  // bounds and centroids
  std::vector<BlockAddress> all(VolumeId volume) const;
};

std::size_t payload_bytes(const BlockAddress& address);
void fill(std::byte* bytes, const BlockAddress& address);
bool is_filled(const std::byte* bytes, const BlockAddress& address);

protocol::ManifestRecord make_record(const TestObject& object, VolumeId volume, protocol::StoreId store = kStore);
void write_blocks(KvStore& store, const TestObject& object, VolumeId volume);
// The manifest's hash.
std::uint64_t write_object(KvStore& store, const TestObject& object, VolumeId volume, std::uint64_t sequence = 1);

// How many of the object's blocks are read as they were written, one at a time.
struct ReadBack {
  std::size_t right = 0;
  std::size_t wrong = 0;  // handed out with other bytes: must never be
  std::size_t refused = 0;
};
ReadBack read_object(KvStore& store, const TestObject& object, VolumeId volume);

// The error thrown by `deed`, which must throw one.
template <typename Deed>
protocol::Error catch_error(Deed&& deed) {
  try {
    deed();
  } catch (const protocol::Error& error) {
    return error;
  }
  throw std::logic_error("expected an Error");
}

// A child process of this program, running one scenario of children.cpp on a directory, with failpoints set.
inline constexpr int kExitOfError = 100;  // and the code of the Error that ended the child
struct ChildExit {
  bool is_killed = false;
  int status = 0;
};
int start_child(const std::string& scenario, const std::filesystem::path& directory, const std::string& failpoints);
ChildExit wait_child(int pid);
int run_scenario(const std::string& scenario, const std::filesystem::path& directory);  // in the child

}  // namespace rotulus::memory_store
