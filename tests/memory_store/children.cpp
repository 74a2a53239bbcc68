// What a child process does before it dies, each on the volume `directory`/volume. Objects 1, 2, 3 … as in TestObject.
#include <unistd.h>

#include <stdexcept>

#include "tests/memory_store/support.h"

namespace rotulus::memory_store {
namespace {

using Live = protocol::ReconcileVolume::Live;

void write_three(KvStore& store, VolumeId volume) {
  store.reconcile(volume, kStore, 1, {});
  for (std::uint64_t id = 1; id <= 3; ++id) write_object(store, {.id = {id}, .has_landmarks = true}, volume, id);
}

void erase_second(KvStore& store, VolumeId volume) {
  std::vector<Live> live;
  for (const auto& [record, hash] : store.manifests(volume)) live.push_back({record.object, hash});
  store.reconcile(volume, kStore, 4, live);
  const ObjectId second{2};
  store.erase({&second, 1}, 5);
}

void collect_second(KvStore& store, VolumeId volume) {
  std::vector<Live> live;
  for (const auto& [record, hash] : store.manifests(volume)) {
    if (record.object != ObjectId{2}) live.push_back({record.object, hash});
  }
  store.reconcile(volume, kStore, 5, live);
}

// The first object once more, as object 9, in slices.
void import_first(KvStore& store, VolumeId volume) {
  write_three(store, volume);
  for (const auto& [record, hash] : store.manifests(volume)) {
    if (record.object != ObjectId{1}) continue;
    for (std::uint32_t layer = 0; layer < kLayers; ++layer) {
      store.write_slice({volume, {9}, 0, layer}, store.read_slice({volume, {1}, 0, layer}, hash).bytes);
    }
    protocol::ManifestRecord copy = record;
    copy.object = {9};
    store.commit_slices(copy, 4);
  }
}

}  // namespace

int run_scenario(const std::string& scenario, const std::filesystem::path& directory) {
  KvStoreConfig config = make_config(directory / "volume", 64);
  if (scenario == "write impatiently") config.write_timeout = std::chrono::milliseconds(20);
  const auto store = open_store(config);
  const VolumeId volume = only_volume(*store);
  if (scenario == "open") return 0;
  if (scenario == "hold") {
    ::pause();
  } else if (scenario == "write for ever") {
    store->reconcile(volume, kStore, 1, {});
    for (std::uint64_t id = 1;; ++id) {
      const auto blocks = 1 + static_cast<std::uint32_t>(id % 7);
      write_object(*store, {.id = {id}, .blocks = blocks, .has_landmarks = true}, volume, id);
    }
  } else if (scenario.starts_with("write")) {
    write_three(*store, volume);
  } else if (scenario == "erase") {
    erase_second(*store, volume);
  } else if (scenario == "import") {
    import_first(*store, volume);
  } else if (scenario == "collect") {
    collect_second(*store, volume);
  } else {
    throw std::logic_error("no scenario " + scenario);
  }
  return 0;
}

}  // namespace rotulus::memory_store
