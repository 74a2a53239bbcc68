#include "memory_store/kv_store.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <mutex>
#include <optional>
#include <set>
#include <unordered_set>
#include <utility>

#include "memory_store/access_trace.h"
#include "memory_store/block_writer.h"
#include "memory_store/manifest.h"
#include "memory_store/prefetcher.h"
#include "memory_store/reader_pool.h"
#include "memory_store/tiers/host/host_tier.h"
#include "memory_store/tiers/rocksdb/rocksdb_volume.h"
#include "memory_store/volume_set.h"
#include "protocol/error.h"
#include "protocol/failpoint.h"
#include "protocol/token_range.h"

namespace rotulus::memory_store {

using protocol::Error;
using protocol::ErrorCode;

struct PinnedBlocks::State {
  HostTier& tier;
  std::vector<Slot> slots;
  ~State() { tier.unpin(slots); }
};

PinnedBlocks::PinnedBlocks() = default;
PinnedBlocks::~PinnedBlocks() = default;
PinnedBlocks::PinnedBlocks(PinnedBlocks&&) noexcept = default;
PinnedBlocks& PinnedBlocks::operator=(PinnedBlocks&&) noexcept = default;

std::size_t PinnedBlocks::size() const {
  return state_ ? state_->slots.size() : 0;
}

const std::byte* PinnedBlocks::operator[](std::size_t index) const {
  CHECK(index < size(), index, size());
  return state_->tier.bytes(state_->slots[index]);
}

namespace {

HostTierConfig kv_tier(const KvStoreConfig& config) {
  return {.block_bytes = config.format.block_bytes(),
          .budget_bytes = config.host_budget_bytes,
          .write_timeout = config.write_timeout,
          .eviction = config.eviction,
          .budget_field = "host_budget_bytes",
          .budget_flag = "--tier-ram-size"};
}

std::optional<HostTierConfig> landmark_tier(const KvStoreConfig& config) {
  const std::size_t largest = std::max({config.landmark_bytes, config.bounds_bytes, config.centroid_bytes});
  if (largest == 0) return std::nullopt;
  return HostTierConfig{.block_bytes = largest,
                        .budget_bytes = config.landmark_budget_bytes,
                        .write_timeout = config.write_timeout,
                        .eviction = config.eviction,
                        .budget_field = "landmark_budget_bytes",
                        .budget_flag = "--landmark-ram-size"};
}

}  // namespace

struct KvStore::State {
  struct Load {
    Slot slot = 0;
    BlockAddress address;
    std::optional<std::string> damage;
    std::optional<Error> failure;  // the volume could not be asked
  };

  explicit State(const KvStoreConfig& config_)
      : config(config_),
        format{.kv = config.format,
               .landmark_bytes = config.landmark_bytes,
               .bounds_bytes = config.bounds_bytes,
               .centroid_bytes = config.centroid_bytes},
        host(kv_tier(config), landmark_tier(config)),
        prefetcher(host.kv, format.payload_bytes(BlockKind::kv),
                   [this](const BlockAddress& address, std::span<std::byte> payload, BlockHeader& header) {
                     Load load{.address = address};
                     read_block(load, payload, header);
                     return !load.damage && !load.failure;
                   }),
        readers(config.reader_threads, [this] { return prefetcher.read_next(); }),
        writer(host, volumes, format, config.write_timeout),
        slices({.format = format, .layers = config.layers}) {
    if (!config.access_trace.empty()) trace.emplace(config.access_trace);
  }

  void open_volumes();
  void check_address(const BlockAddress& address) const;
  void load(std::span<Load> loads);
  void read_block(Load& load, std::span<std::byte> payload, BlockHeader& header);
  [[noreturn]] void throw_damage(const BlockAddress& address, const std::string& reason);
  void check_readable(const BlockAddress& address) const;
  void erase_on(HeldVolume& held, std::span<const ObjectId> objects);

  const KvStoreConfig config;
  const BlockFormat format;
  VolumeSet volumes;
  std::vector<protocol::VolumeFailure> failed_volumes;
  HostTiers host;
  Prefetcher prefetcher;
  ReaderPool readers;
  BlockWriter writer;
  SliceWriter slices;
  std::optional<AccessTrace> trace;
  Damage last_damage;
  mutable std::mutex erased_mutex;
  std::unordered_set<ObjectId> erased;  // in this life; 8 bytes each, and ids do not come back
  std::atomic<std::uint64_t> blocks_loaded = 0;
  std::atomic<std::uint64_t> blocks_verified = 0;
  std::atomic<std::uint64_t> blocks_corrupt = 0;
};

// ---------------------------------------------------------------------------------------------------------------
// Opening

std::unique_ptr<KvStore> KvStore::open(const KvStoreConfig& config) {
  CHECK(config.layers > 0 && config.layers <= std::numeric_limits<std::uint16_t>::max(), config.layers);
  auto state = std::make_unique<State>(config);
  state->open_volumes();
  return std::unique_ptr<KvStore>(new KvStore(std::move(state)));
}

void KvStore::State::open_volumes() {
  for (const std::filesystem::path& path : config.volume_paths) {
    try {
      std::unique_ptr<Volume> volume = open_rocksdb_volume(
          {.path = path, .max_bytes = config.max_volume_bytes, .lock_timeout = config.lock_timeout});
      const VolumeId id = volume->state().volume;
      HeldVolume& held = volumes[id];
      if (held.volume) {
        failed_volumes.push_back(
            {path.string(),
             fmt::format("is a copy of volume {} at {}; only one of them can be held", id, held.volume->state().path)});
      } else {
        held.volume = std::move(volume);
      }
    } catch (const Error& error) {
      failed_volumes.push_back({path.string(), error.message()});
    }
  }
}

KvStore::KvStore(std::unique_ptr<State> state) : state_(std::move(state)) {}
KvStore::~KvStore() = default;

std::vector<protocol::VolumeState> KvStore::volumes() const {
  std::vector<protocol::VolumeState> states;
  for (const auto& [id, held] : state_->volumes) states.push_back(held.volume->state());
  return states;
}

const std::vector<protocol::VolumeFailure>& KvStore::failed_volumes() const {
  return state_->failed_volumes;
}

bool KvStore::holds(VolumeId volume) const {
  return state_->volumes.contains(volume);
}

// ---------------------------------------------------------------------------------------------------------------
// Writing

void KvStore::State::check_address(const BlockAddress& address) const {
  CHECK(address.layer < config.layers, address.layer, config.layers);
  if (address.kind == BlockKind::kv) return;
  CHECK(format.payload_bytes(address.kind) > 0, to_string(address));
  CHECK(address.block % protocol::kBlocksPerStripe == 0, to_string(address));
}

std::byte* KvStore::block_for_writing(const BlockAddress& address) {
  state_->check_address(address);
  return state_->writer.block_for_writing(address);
}

void KvStore::seal(const BlockAddress& address) {
  state_->writer.seal(address);
}

void KvStore::discard(const BlockAddress& address) {
  state_->writer.discard(address);
}

namespace {

void check_owner(const Volume& volume, const protocol::ManifestRecord& record) {
  const protocol::StoreId owner = volume.state().store;
  if (record.store == owner) return;
  throw Error(ErrorCode::conflict, fmt::format("volume {} belongs to store {}, object {} to store {}", record.volume,
                                               owner, record.object, record.store));
}

}  // namespace

std::uint64_t KvStore::commit(protocol::ManifestRecord record, std::uint64_t catalogue_sequence) {
  Volume& volume = find_volume(state_->volumes, record.volume);
  check_owner(volume, record);
  const BlocksHash hash = state_->writer.finish(record.object, record.volume);
  record.block_count = hash.count();
  record.blocks_hash = hash.value();
  const StoredManifest manifest = store_manifest(record);
  protocol::failpoint("commit.before_manifest");
  try {
    volume.commit(record.object, manifest.value, catalogue_sequence);
  } catch (const Error& error) {
    state_->writer.fail(record.object, error);
    throw;
  }
  state_->writer.close(record.object, record.volume);
  return manifest.hash;
}

void KvStore::abandon(ObjectId object) {
  state_->writer.abandon(object);
}

// ---------------------------------------------------------------------------------------------------------------
// Reading

PinnedBlocks KvStore::pin(std::span<const BlockAddress> addresses) {
  if (addresses.empty()) return {};
  for (const BlockAddress& address : addresses) {
    state_->check_address(address);
    CHECK(address.kind == addresses.front().kind, to_string(address));
  }
  if (state_->trace && addresses.front().kind == BlockKind::kv) state_->trace->write(addresses);
  HostTier& tier = state_->host.of(addresses.front().kind);
  std::vector<std::optional<Slot>> resident(addresses.size());
  tier.pin_resident(addresses, resident);
  PinnedBlocks pinned;
  pinned.state_.reset(new PinnedBlocks::State{.tier = tier, .slots = {}});
  std::vector<Slot>& slots = pinned.state_->slots;  // from here on, leaving unpins what was pinned
  slots.reserve(addresses.size());
  for (const std::optional<Slot>& slot : resident) {
    if (slot) slots.push_back(*slot);
  }
  if (slots.size() == addresses.size()) return pinned;

  state_->prefetcher.stop();  // what is under way arrives; the rest is read here, by all threads
  for (std::size_t i = 0; i < addresses.size(); ++i) {
    if (!resident[i] && (resident[i] = tier.pin(addresses[i]))) slots.push_back(*resident[i]);
  }
  std::vector<State::Load> loads;
  try {
    for (std::size_t i = 0; i < addresses.size(); ++i) {
      if (resident[i]) continue;
      resident[i] = tier.pin(addresses[i]);  // asked for twice, and placed for the first
      if (!resident[i]) {
        state_->check_readable(addresses[i]);
        resident[i] = state_->writer.place(addresses[i]);
        loads.push_back({.slot = *resident[i], .address = addresses[i]});
      }
      slots.push_back(*resident[i]);
    }
    state_->load(loads);
  } catch (const Error&) {
    for (const State::Load& load : loads) {
      if (tier.header(load.slot).magic == 0) tier.forget(load.slot);
    }
    throw;
  }
  for (std::size_t i = 0; i < addresses.size(); ++i) slots[i] = *resident[i];
  return pinned;
}

void KvStore::prefetch(std::span<const BlockAddress> addresses) {
  std::vector<BlockAddress> within_reach;
  const auto is_within_reach = [&](const BlockAddress& address) {
    state_->check_address(address);
    CHECK(address.kind == BlockKind::kv, to_string(address));
    return holds(address.volume);
  };
  std::copy_if(addresses.begin(), addresses.end(), std::back_inserter(within_reach), is_within_reach);
  if (state_->prefetcher.want(within_reach)) state_->readers.wake();
}

void KvStore::State::load(std::span<Load> loads) {
  readers.run(loads.size(), [&](std::size_t index) {
    Load& load = loads[index];
    HostTier& tier = host.of(load.address.kind);
    BlockHeader header;
    read_block(load, {tier.bytes(load.slot), format.payload_bytes(load.address.kind)}, header);
    // A block that is not whole leaves a header without magic, so that nobody takes it for one.
    if (!load.damage && !load.failure) tier.header(load.slot) = header;
  });
  for (const Load& load : loads) {
    if (load.failure) throw *load.failure;
    if (load.damage) throw_damage(load.address, *load.damage);
  }
}

// On a thread of the pool.
void KvStore::State::read_block(Load& load, std::span<std::byte> payload, BlockHeader& header) {
  try {
    load.damage = find_volume(volumes, load.address.volume).read(load.address, header, payload);
  } catch (const Error& error) {
    load.failure = error;
    return;
  }
  ++blocks_loaded;
  if (!load.damage) {
    load.damage = find_damage(header, payload, load.address, format);
    ++blocks_verified;
  }
}

void KvStore::State::throw_damage(const BlockAddress& address, const std::string& reason) {
  {
    const std::lock_guard lock(erased_mutex);
    if (erased.contains(address.object)) {
      throw Error(ErrorCode::not_found, fmt::format("{}: the object was erased", to_string(address)));
    }
  }
  ++blocks_corrupt;
  last_damage = {.address = address, .message = fmt::format("{}: {}", to_string(address), reason)};
  throw Error(ErrorCode::storage_corrupt, last_damage.message);
}

// A block that is not in host memory can only be read from a volume held, and not if its object failed on the way
// there.
void KvStore::State::check_readable(const BlockAddress& address) const {
  if (!volumes.contains(address.volume)) {
    throw Error(
        ErrorCode::unavailable,
        fmt::format("{}: it is not in host memory, and its volume is not held by this rank", to_string(address)));
  }
  if (const std::optional<Error> failure = writer.failure(address.object)) throw *failure;
}

const KvStore::Damage& KvStore::last_damage() const {
  return state_->last_damage;
}

std::vector<BlockAddress> KvStore::missing(std::span<const BlockAddress> addresses) const {
  std::vector<BlockAddress> absent;
  for (const BlockAddress& address : addresses) {
    if (!holds(address.volume) && !state_->host.of(address.kind).is_resident(address)) absent.push_back(address);
  }
  return absent;
}

PinnedBlocks KvStore::pin_resident(std::span<const BlockAddress> addresses) {
  if (addresses.empty()) return {};
  HostTier& tier = state_->host.of(addresses.front().kind);
  PinnedBlocks pinned;
  pinned.state_.reset(new PinnedBlocks::State{.tier = tier, .slots = {}});
  pinned.state_->slots.reserve(addresses.size());
  for (const BlockAddress& address : addresses) {
    if (const auto slot = tier.pin(address)) pinned.state_->slots.push_back(*slot);
  }
  return pinned;
}

std::size_t KvStore::wire_bytes(BlockKind kind) const {
  return sizeof(BlockHeader) + state_->format.payload_bytes(kind);
}

std::vector<std::byte> KvStore::read(const BlockAddress& address) {
  const PinnedBlocks pinned = pin({&address, 1});
  HostTier& tier = pinned.state_->tier;
  const BlockHeader& header = tier.header(pinned.state_->slots.front());
  if (header.magic == 0) {
    throw Error(ErrorCode::unavailable, fmt::format("{} is still being written", to_string(address)));
  }
  const std::span<const std::byte> payload{pinned[0], state_->format.payload_bytes(address.kind)};
  // It leaves this rank's care: what host memory did to it since it was verified must show here.
  ++state_->blocks_verified;
  if (const auto damage = find_damage(header, payload, address, state_->format)) {
    tier.forget(pinned.state_->slots.front());
    state_->throw_damage(address, *damage);
  }
  std::vector<std::byte> bytes(sizeof(header) + payload.size());
  std::memcpy(bytes.data(), &header, sizeof(header));
  std::memcpy(bytes.data() + sizeof(header), payload.data(), payload.size());
  return bytes;
}

PinnedBlocks KvStore::insert(const BlockAddress& address, std::span<const std::byte> bytes) {
  state_->check_address(address);
  if (const std::size_t whole = wire_bytes(address.kind); bytes.size() != whole) {
    state_->throw_damage(address, fmt::format("came with {} bytes, {} make a block", bytes.size(), whole));
  }
  BlockHeader header;
  std::memcpy(&header, bytes.data(), sizeof(header));
  const std::span<const std::byte> payload = bytes.subspan(sizeof(header));
  ++state_->blocks_verified;
  if (const auto damage = find_damage(header, payload, address, state_->format)) {
    state_->throw_damage(address, *damage);
  }
  state_->prefetcher.stop();  // it may bring the same
  HostTier& tier = state_->host.of(address.kind);
  std::optional<Slot> slot = tier.pin(address);
  if (!slot) {
    slot = state_->writer.place(address);
    std::memcpy(tier.bytes(*slot), payload.data(), payload.size());
    tier.header(*slot) = header;
  }
  PinnedBlocks pinned;
  pinned.state_.reset(new PinnedBlocks::State{.tier = tier, .slots = {*slot}});
  return pinned;
}

// ---------------------------------------------------------------------------------------------------------------
// Keeping

ReconcileResult KvStore::reconcile(VolumeId id, protocol::StoreId store, std::uint64_t catalogue_sequence,
                                   std::span<const protocol::ReconcileVolume::Live> live) {
  Volume& volume = find_volume(state_->volumes, id);
  const protocol::VolumeState known = volume.state();
  if (known.store && known.store != store) {
    throw Error(ErrorCode::conflict, fmt::format("volume {} at {} belongs to store {}, this catalogue is of store {}; "
                                                 "nothing was touched",
                                                 id, known.path, known.store, store));
  }
  if (known.catalogue_sequence > catalogue_sequence) {
    throw Error(
        ErrorCode::conflict,
        fmt::format("volume {} at {} saw catalogue sequence {}, this catalogue is at {}, so it is an older copy; "
                    "nothing was touched. Bring the newer one, or rebuild the catalogue from the volumes",
                    id, known.path, known.catalogue_sequence, catalogue_sequence));
  }
  volume.remember(store, catalogue_sequence);

  ReconcileResult result;
  std::set<ObjectId> kept;
  for (const auto& [object, manifest_hash] : live) {
    kept.insert(object);
    const auto value = volume.manifest(object);
    const auto manifest = value ? read_manifest(*value, object, id) : std::nullopt;
    if (!manifest || manifest->hash != manifest_hash) result.damaged.push_back(object);
  }
  state_->writer.begin_watch();
  std::vector<ObjectId> garbage = volume.objects();
  for (const ObjectId object : state_->writer.end_watch()) kept.insert(object);
  std::erase_if(garbage, [&](ObjectId object) { return kept.contains(object) || !volume.contains(object); });
  HeldVolume& held = state_->volumes.at(id);
  held.is_accepted = true;
  protocol::failpoint("reconcile.before_erase");
  state_->erase_on(held, garbage);
  result.collected_objects = garbage.size();
  return result;
}

Verification KvStore::verify(VolumeId id, ObjectId object, std::uint64_t manifest_hash) const {
  const Verification seen =
      verify_object(find_volume(state_->volumes, id), {.volume = id, .object = object, .manifest_hash = manifest_hash},
                    {.format = state_->format, .layers = state_->config.layers});
  state_->blocks_verified += seen.blocks_verified;
  state_->blocks_corrupt += seen.blocks_damaged;
  return seen;
}

StoredSlice KvStore::read_slice(const SliceAddress& address, std::uint64_t manifest_hash) const {
  StoredSlice slice = memory_store::read_slice(find_volume(state_->volumes, address.volume), address, manifest_hash,
                                               {.format = state_->format, .layers = state_->config.layers});
  state_->blocks_verified += slice.block_count;
  return slice;
}

std::uint32_t KvStore::write_slice(const SliceAddress& address, std::span<const std::byte> bytes) {
  return state_->slices.write(find_volume(state_->volumes, address.volume), address, bytes);
}

std::uint64_t KvStore::commit_slices(protocol::ManifestRecord& record, std::uint64_t catalogue_sequence) {
  Volume& volume = find_volume(state_->volumes, record.volume);
  check_owner(volume, record);
  const StoredManifest manifest = state_->slices.finish(volume, record);
  protocol::failpoint("import.before_manifest");
  volume.commit(record.object, manifest.value, catalogue_sequence);
  return manifest.hash;
}

std::vector<std::pair<protocol::ManifestRecord, std::uint64_t>> KvStore::manifests(VolumeId id) const {
  const Volume& volume = find_volume(state_->volumes, id);
  std::vector<std::pair<protocol::ManifestRecord, std::uint64_t>> manifests;
  for (const ObjectId object : volume.objects()) {
    const auto value = volume.manifest(object);
    if (!value) continue;
    if (auto manifest = read_manifest(*value, object, id)) {
      manifests.emplace_back(std::move(manifest->record), manifest->hash);
    }
  }
  return manifests;
}

void KvStore::State::erase_on(HeldVolume& held, std::span<const ObjectId> objects) {
  if (objects.empty()) return;
  {
    const std::lock_guard lock(erased_mutex);
    erased.insert(objects.begin(), objects.end());
  }
  for (const ObjectId object : objects) {
    writer.fail(object, Error(ErrorCode::not_found, fmt::format("object {} was erased", object)));
    host.forget(object);
  }
  held.volume->erase(objects);
}

void KvStore::erase(std::span<const ObjectId> objects, std::uint64_t catalogue_sequence) {
  for (const ObjectId object : objects) state_->slices.forget(object);
  std::optional<Error> failure;
  for (auto& [id, held] : state_->volumes) {
    if (!held.is_accepted) continue;
    try {
      state_->erase_on(held, objects);  // first: on a full disk nothing can be remembered before
      held.volume->remember({}, catalogue_sequence);
    } catch (const Error& error) {
      if (!failure) failure = error;  // the other volumes first
    }
  }
  if (failure) throw *failure;
}

KvStore::Stats KvStore::stats() const {
  const HostTier::Usage kv = state_->host.kv.usage();
  const HostTier::Usage landmarks = state_->host.landmarks ? state_->host.landmarks->usage() : HostTier::Usage{};
  Stats stats{.host_bytes_used = kv.used_bytes,
              .host_bytes_pinned = kv.pinned_bytes,
              .host_bytes_budget = kv.budget_bytes,
              .landmark_bytes_used = landmarks.used_bytes,
              .landmark_bytes_pinned = landmarks.pinned_bytes,
              .landmark_bytes_budget = landmarks.budget_bytes,
              .blocks_loaded = state_->blocks_loaded,
              .blocks_verified = state_->blocks_verified,
              .blocks_corrupt = state_->blocks_corrupt,
              .blocks_evicted = kv.evicted_blocks + landmarks.evicted_blocks,
              .blocks_written = state_->writer.blocks_written(),
              .prefetched_used = kv.prefetched_used,
              .prefetched_unused = kv.prefetched_unused};
  for (const auto& [id, held] : state_->volumes) stats.disk_bytes_used += held.volume->state().bytes_used;
  return stats;
}

}  // namespace rotulus::memory_store
