// rotulus-bench-store: the figures of the memory store, one JSON line each, as scripts/bench.sh describes.
//
// The store holds eight layers of blocks as SmolLM2-135M has them (96 KiB) in a directory of $TMPDIR, which should lie
// on the disk that is meant. Reading is cold: one layer after the other of a context of 40,960 tokens, with direct I/O,
// through a host memory that holds one layer; each block is verified. The limit is the same disk read with O_DIRECT in
// records of the same size by as many threads; writing's is O_DIRECT in order, synced at the end. Both alternate with
// ours. Wall time, MB.
#include <unistd.h>

#include <cstring>
#include <memory>
#include <random>
#include <stdexcept>
#include <vector>

#include "benchmarks/disk_limits.h"
#include "benchmarks/figures.h"
#include "benchmarks/roofline.h"
#include "memory_store/kv_store.h"
#include "protocol/token_range.h"

namespace rotulus::benchmarks {
namespace {

using memory_store::BlockAddress;
using memory_store::KvStore;

constexpr int kRepetitions = 5;
constexpr std::uint32_t kLayers = 8;
constexpr std::uint32_t kObjects = 10;
constexpr protocol::StoreId kStore{1};

class Directory final {
 public:
  Directory() {
    std::string name = (std::filesystem::temp_directory_path() / "rotulus-bench-store-XXXXXX").string();
    if (!::mkdtemp(name.data())) throw std::runtime_error("no temporary directory: " + name);
    path_ = name;
  }
  ~Directory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

// A store, and a file with as many bytes.
class StoreCase final {
 public:
  StoreCase() : raw_(directory_.path(), block_bytes(), kObjects * blocks_of_object()), source_(block_bytes()) {
    std::mt19937_64 random(3);
    for (std::byte& byte : source_) byte = static_cast<std::byte>(random());
    memory_store::KvStoreConfig config;
    config.volume_paths = {directory_.path() / "volume"};
    config.layers = kLayers;
    config.format = format();
    config.host_budget_bytes = kObjects * protocol::kBlocksPerChunk * block_bytes();  // one layer
    depth_ = config.reader_threads + 1;
    store_ = KvStore::open(config);
    volume_ = store_->volumes().at(0).volume;
    store_->reconcile(volume_, kStore, 1, {});
  }

  double megabytes() const { return static_cast<double>(kObjects * blocks_of_object() * block_bytes()) / 1e6; }
  RawFile& raw() { return raw_; }
  std::size_t depth() const { return depth_; }

  // Objects as the engine writes them: block by block through all layers. Returns when all are durable. Seconds.
  double write() {
    const double begin = wall_seconds();
    for (std::uint32_t object = 0; object < kObjects; ++object) {
      const protocol::ObjectId id{next_object_++};
      for (std::uint32_t block = 0; block < protocol::kBlocksPerChunk; ++block) {
        for (std::uint32_t layer = 0; layer < kLayers; ++layer) {
          const BlockAddress address{.object = id, .layer = layer, .block = block, .volume = volume_};
          std::memcpy(store_->block_for_writing(address), source_.data(), source_.size());
          store_->seal(address);
        }
      }
      protocol::ManifestRecord record;
      record.object = id;
      record.store = kStore;
      record.volume = volume_;
      store_->commit(record, 1);
      written_.push_back(id);
    }
    return wall_seconds() - begin;
  }

  double read() {
    const double begin = wall_seconds();
    for (std::uint32_t layer = 0; layer < kLayers; ++layer) {
      std::vector<BlockAddress> addresses;
      for (const protocol::ObjectId object : written_) {
        for (std::uint32_t block = 0; block < protocol::kBlocksPerChunk; ++block) {
          addresses.push_back({.object = object, .layer = layer, .block = block, .volume = volume_});
        }
      }
      store_->pin(addresses);
    }
    return wall_seconds() - begin;
  }

  void erase() {
    store_->erase(written_, 1);
    written_.clear();
  }

 private:
  static kernels::KvFormat format() { return {.type = kernels::KvType::f16, .kv_heads = 3, .head_dim = 64}; }
  static std::size_t block_bytes() { return format().block_bytes(); }
  static std::size_t blocks_of_object() { return std::size_t{protocol::kBlocksPerChunk} * kLayers; }

  Directory directory_;
  RawFile raw_;
  std::vector<std::byte> source_;
  std::unique_ptr<KvStore> store_;
  protocol::VolumeId volume_;
  std::size_t depth_ = 0;
  std::uint64_t next_object_ = 1;
  std::vector<protocol::ObjectId> written_;
};

// `ours` between two of `theirs`, each of which handles all the bytes and says how long it took.
template <typename Ours, typename Theirs>
Measured against(double megabytes, Ours&& ours, Theirs&& theirs) {
  std::vector<double> values, limits, shares;
  double before = theirs();
  for (int i = 0; i < kRepetitions; ++i) {
    const double seconds = ours();
    const double after = theirs();
    values.push_back(megabytes / seconds);
    limits.push_back(2 * megabytes / (before + after));
    shares.push_back(values.back() / limits.back());
    before = after;
  }
  return {.value = median(values), .limit = median(limits), .share = median(shares), .peer = {}, .ratio = {}};
}

Measured read_cold() {
  StoreCase store;
  store.raw().write();
  store.write();
  return against(
      store.megabytes(), [&] { return store.read(); }, [&] { return store.raw().read(store.depth()); });
}

Measured write_durably() {
  StoreCase store;
  const auto ours = [&] {
    const double seconds = store.write();
    store.erase();
    return seconds;
  };
  return against(store.megabytes(), ours, [&] { return store.raw().write(); });
}

std::vector<Figure> all_figures() {
  return {{"store.read.cold", "MB/s", read_cold}, {"store.write", "MB/s", write_durably}};
}

}  // namespace
}  // namespace rotulus::benchmarks

int main(int argc, char** argv) {
  return rotulus::benchmarks::report(argc, argv, rotulus::benchmarks::all_figures());
}
