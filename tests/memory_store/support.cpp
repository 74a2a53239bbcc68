#include "tests/memory_store/support.h"

#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>

#include "protocol/error.h"

namespace rotulus::memory_store {

TemporaryDirectory::TemporaryDirectory(Place place) {
  const std::filesystem::path memory = "/dev/shm";
  const bool is_in_memory = place == Place::memory && ::access(memory.c_str(), W_OK) == 0;
  std::string name = (is_in_memory ? memory : std::filesystem::temp_directory_path()) / "rotulus-store-XXXXXX";
  if (!::mkdtemp(name.data())) throw std::runtime_error("no temporary directory: " + name);
  path_ = name;
}

TemporaryDirectory::~TemporaryDirectory() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

kernels::KvFormat small_format() {
  return {.type = kernels::KvType::f16, .kv_heads = 1, .head_dim = 16};
}

KvStoreConfig make_config(const std::filesystem::path& volume, std::size_t host_blocks, std::size_t host_landmarks) {
  KvStoreConfig config;
  config.volume_paths = {volume};
  config.layers = kLayers;
  config.format = small_format();
  config.host_budget_bytes = host_blocks * block_bytes();
  config.landmark_bytes = kLandmarkBytes;
  config.bounds_bytes = kBoundsBytes;
  config.centroid_bytes = kCentroidBytes;
  config.landmark_budget_bytes = host_landmarks * kLandmarkSlotBytes;
  return config;
}

std::unique_ptr<KvStore> open_store(const KvStoreConfig& config) {
  auto store = KvStore::open(config);
  for (const auto& failure : store->failed_volumes()) throw std::runtime_error(failure.path + ": " + failure.reason);
  return store;
}

VolumeId only_volume(const KvStore& store) {
  return store.volumes().at(0).volume;
}

std::vector<BlockAddress> TestObject::addresses(VolumeId volume) const {
  std::vector<BlockAddress> all;
  for (std::uint32_t block = first_block; block < first_block + blocks; ++block) {
    for (std::uint32_t layer = 0; layer < layers; ++layer) {
      all.push_back({.object = id, .layer = layer, .block = block, .volume = volume});
    }
  }
  return all;
}

std::vector<BlockAddress> TestObject::landmarks(VolumeId volume) const {
  std::vector<BlockAddress> all;
  const std::pair<BlockKind, bool> kinds[] = {
      {BlockKind::landmarks, has_landmarks}, {BlockKind::bounds, has_bounds}, {BlockKind::centroids, has_centroids}};
  for (const auto& [kind, is_kept] : kinds) {
    if (!is_kept) continue;
    for (std::uint32_t block = first_block / 4 * 4; block < first_block + blocks; block += 4) {
      for (std::uint32_t layer = 0; layer < layers; ++layer) {
        all.push_back({.object = id, .layer = layer, .block = block, .volume = volume, .kind = kind});
      }
    }
  }
  return all;
}

std::vector<BlockAddress> TestObject::all(VolumeId volume) const {
  std::vector<BlockAddress> all = addresses(volume);
  for (const BlockAddress& address : landmarks(volume)) all.push_back(address);
  return all;
}

std::size_t payload_bytes(const BlockAddress& address) {
  if (address.kind == BlockKind::kv) return block_bytes();
  if (address.kind == BlockKind::landmarks) return kLandmarkBytes;
  return address.kind == BlockKind::bounds ? kBoundsBytes : kCentroidBytes;
}

namespace {

std::uint64_t word_of(const BlockAddress& address, std::size_t index) {
  std::uint64_t x = address.object.value * 0x9e3779b97f4a7c15ull + (std::uint64_t{address.layer} << 32 | address.block);
  x = (x + index) * 0xbf58476d1ce4e5b9ull + static_cast<std::uint64_t>(address.kind);
  return x ^ x >> 29;
}

}  // namespace

void fill(std::byte* bytes, const BlockAddress& address) {
  for (std::size_t i = 0; i < payload_bytes(address) / 8; ++i) {
    const std::uint64_t word = word_of(address, i);
    std::memcpy(bytes + 8 * i, &word, 8);
  }
}

bool is_filled(const std::byte* bytes, const BlockAddress& address) {
  for (std::size_t i = 0; i < payload_bytes(address) / 8; ++i) {
    const std::uint64_t word = word_of(address, i);
    if (std::memcmp(bytes + 8 * i, &word, 8) != 0) return false;
  }
  return true;
}

protocol::ManifestRecord make_record(const TestObject& object, VolumeId volume, protocol::StoreId store) {
  protocol::ManifestRecord record;
  record.object = object.id;
  record.context = {7};
  record.range = {object.first_block * 128ull, (object.first_block + object.blocks) * 128ull};
  record.store = store;
  record.volume = volume;
  record.placement = {{.first_lane = 0, .volume = volume}};
  record.parameters.model_fingerprint = "00ff";
  record.parameters.kv_type = "f16";
  record.description.display_name = "a test";
  record.description.token_count = record.range.end;
  for (std::uint64_t token = record.range.begin; token < record.range.end; ++token) {
    record.token_ids.push_back(static_cast<protocol::TokenId>(token * 31));
  }
  return record;
}

void write_blocks(KvStore& store, const TestObject& object, VolumeId volume) {
  for (const BlockAddress& address : object.all(volume)) {
    fill(store.block_for_writing(address), address);
    store.seal(address);
  }
}

std::uint64_t write_object(KvStore& store, const TestObject& object, VolumeId volume, std::uint64_t sequence) {
  write_blocks(store, object, volume);
  return store.commit(make_record(object, volume), sequence);
}

ReadBack read_object(KvStore& store, const TestObject& object, VolumeId volume) {
  ReadBack result;
  for (const BlockAddress& address : object.all(volume)) {
    try {
      const PinnedBlocks pinned = store.pin({&address, 1});
      ++(is_filled(pinned[0], address) ? result.right : result.wrong);
    } catch (const protocol::Error& error) {
      if (error.code() != protocol::ErrorCode::storage_corrupt) throw;
      ++result.refused;
    }
  }
  return result;
}

int start_child(const std::string& scenario, const std::filesystem::path& directory, const std::string& failpoints) {
  const std::string environment = "ROTULUS_FAILPOINTS=" + failpoints;
  const std::string program = std::filesystem::read_symlink("/proc/self/exe").string();
  const std::string place = directory.string();
  const char* arguments[] = {program.c_str(), "--child", scenario.c_str(), place.c_str(), nullptr};
  const char* variables[] = {environment.c_str(), nullptr};
  pid_t pid = 0;
  const int error = ::posix_spawn(&pid, program.c_str(), nullptr, nullptr, const_cast<char* const*>(arguments),
                                  const_cast<char* const*>(variables));
  if (error != 0) throw std::runtime_error("a child does not start: " + std::string(std::strerror(error)));
  return pid;
}

ChildExit wait_child(int pid) {
  int status = 0;
  ::waitpid(pid, &status, 0);
  return {.is_killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL,
          .status = WIFEXITED(status) ? WEXITSTATUS(status) : -1};
}

}  // namespace rotulus::memory_store
