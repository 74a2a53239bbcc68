// Blocks of one size in host memory: which are there, who holds them, and which go when another needs the place.
//
// A block is resident in a slot. It has pins: of readers, of the one that fills or loads it, of the writer while it is
// not yet on its volume. Without pins it may be evicted, in the order of a policy. A forgotten block is found no more;
// its slot is free again when the last pin is gone.
//
// Invariants:
//   1. slots in use · slot bytes <= budget.
//   2. A slot with pins is neither evicted nor given to another block.
//   3. A slot without pins is either free, or a candidate for eviction, or kept for later; never two of them.
//
// What is kept for later was read, or not evicted, because it will probably be asked for soon. It is evicted too, but
// after all candidates; what is read for later never takes its place, and no more than half of all slots are kept. So
// whatever fits without it fits with it.
//
// Threads: safe. Bytes and header of a slot belong to whoever pins it; they are written only by the one that placed it,
// before it shares the slot.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "memory_store/eviction.h"
#include "memory_store/kv_block.h"
#include "memory_store/policies/slot_rings.h"
#include "memory_store/tiers/host/arena.h"

namespace rotulus::memory_store {

struct HostTierConfig {
  std::size_t block_bytes = 0;
  std::size_t budget_bytes = 0;
  std::chrono::milliseconds write_timeout{0};
  Eviction eviction = Eviction::lru;
  std::string budget_field;  // as errors name the budget …
  std::string budget_flag;   // … and the flag that makes it larger
};

class HostTier final {
 public:
  // Throws Error{invalid_argument} if the budget does not hold one block.
  explicit HostTier(const HostTierConfig& config);

  // A slot for a block that is not resident, pinned once; evicts, or waits for the writer, to make room. Its bytes are
  // whatever lay there before. Throws Error{out_of_memory} with the numbers if nothing can leave.
  Slot place(const BlockAddress& address);
  std::optional<Slot> pin(const BlockAddress& address);
  void pin_resident(std::span<const BlockAddress> addresses, std::span<std::optional<Slot>> slots);
  void unpin(std::span<const Slot> slots);
  bool is_resident(const BlockAddress& address) const;
  bool is_full() const;  // all slots have pins

  // Between the two, the slot is counted as one that will lose a pin without anyone's doing but the writer's.
  void begin_write(Slot slot);
  void end_write(Slot slot);  // and unpins

  // Keeps those that are there for later, in place of what was kept before, as far as they may be; the others.
  std::vector<BlockAddress> keep_for_later(std::span<const BlockAddress> addresses);
  // A slot to read a block into for later; nothing where that would be in the way. It becomes the block's, or is given
  // back.
  std::optional<Slot> reserve();
  void keep_for_later(Slot slot, const BlockAddress& address, const BlockHeader& header);
  void give_back(Slot slot);

  void forget(Slot slot);
  void forget(ObjectId object);

  std::byte* bytes(Slot slot) const { return arena_.slot(slot); }
  BlockHeader& header(Slot slot) { return residents_[slot].header; }  // magic 0 until the block is complete

  struct Usage {
    std::uint64_t used_bytes = 0;
    std::uint64_t pinned_bytes = 0;
    std::uint64_t budget_bytes = 0;
    std::uint64_t evicted_blocks = 0;
    std::uint64_t prefetched_used = 0;    // read for later, then asked for
    std::uint64_t prefetched_unused = 0;  // left without
  };
  Usage usage() const;

 private:
  struct Resident {
    BlockAddress address;
    BlockHeader header;
    std::uint32_t pins = 0;
    bool is_forgotten = false;   // in no index: free again without pins
    bool is_for_later = false;   // in `later_`, where it has no pins
    bool is_prefetched = false;  // read for later, and not asked for yet
  };

  std::optional<Slot> find(const BlockAddress& address) const;
  void pin_locked(Slot slot);
  void unpin_locked(Slot slot);
  void forget_locked(Slot slot);
  std::optional<Slot> take_slot();
  bool evict(std::optional<Slot> victim);
  void track(Slot slot, bool is_for_later);
  void untrack(Slot slot);

  const HostTierConfig config_;
  const std::size_t slot_bytes_;  // a block's, up to the alignment of the next
  mutable std::mutex mutex_;
  std::condition_variable unpinned_;
  HostArena arena_;
  std::vector<Resident> residents_;  // by slot
  std::vector<Slot> free_;
  std::unique_ptr<EvictionPolicy> candidates_;
  SlotRings later_;  // one ring
  std::size_t later_count_ = 0;
  std::unordered_map<ObjectId, std::unordered_map<std::uint64_t, Slot>> index_;  // object, then the rest
  std::size_t pinned_ = 0;
  std::size_t unwritten_ = 0;  // and reserved ones: they lose a pin without anyone's doing
  std::size_t reserved_ = 0;
  std::uint64_t evicted_ = 0;
  std::uint64_t prefetched_used_ = 0;
  std::uint64_t prefetched_unused_ = 0;
};

// The tiers of one store, by the kind of block. Bounds lie among landmarks, in slots for the larger of the two: one
// budget serves contexts that keep them and contexts that do not.
struct HostTiers {
  HostTier kv;
  std::optional<HostTier> landmarks;  // where the store keeps any

  HostTiers(const HostTierConfig& of_kv, const std::optional<HostTierConfig>& of_landmarks) : kv(of_kv) {
    if (of_landmarks) landmarks.emplace(*of_landmarks);
  }
  HostTier& of(BlockKind kind) { return kind == BlockKind::kv ? kv : landmarks.value(); }
  void forget(ObjectId object) {
    kv.forget(object);
    if (landmarks) landmarks->forget(object);
  }
};

}  // namespace rotulus::memory_store
