#include "memory_store/block_writer.h"

#include <algorithm>
#include <cstring>

#include "protocol/failpoint.h"
#include "protocol/limits.h"

namespace rotulus::memory_store {

using protocol::Error;
using protocol::ErrorCode;

BlockWriter::BlockWriter(HostTiers& host, const VolumeSet& volumes, const BlockFormat& format,
                         std::chrono::milliseconds write_timeout)
    : host_(host), volumes_(volumes), format_(format), write_timeout_(write_timeout), thread_([this] { run(); }) {}

BlockWriter::~BlockWriter() {
  {
    const std::lock_guard lock(mutex_);
    is_stopping_ = true;
  }
  work_.notify_all();
  thread_.join();
}

Slot BlockWriter::place(const BlockAddress& address) {
  HostTier& tier = host_.of(address.kind);
  if (address.kind != BlockKind::kv && tier.is_full()) {
    {
      const std::lock_guard lock(mutex_);
      for (auto& [id, object] : objects_) {
        for (auto& [volume, part] : object.parts) enqueue_landmarks(part);
      }
    }
    work_.notify_one();
  }
  return tier.place(address);
}

std::byte* BlockWriter::block_for_writing(const BlockAddress& address) {
  find_volume(volumes_, address.volume);
  HostTier& tier = host_.of(address.kind);
  const std::string key = block_key(address);
  {
    const std::lock_guard lock(mutex_);
    const auto [entry, is_new] = objects_.try_emplace(address.object);
    if (is_new && watched_) watched_->push_back(address.object);
    WritingObject& object = entry->second;
    if (object.failure) throw *object.failure;
    Part& part = object.parts[address.volume];
    if (const auto found = part.blocks.find(key); found != part.blocks.end()) {
      CHECK(found->second.open_slot.has_value(), to_string(address));  // sealed: not to be written to again
      return tier.bytes(*found->second.open_slot);
    }
  }
  const Slot slot = place(address);  // may wait for run(), which needs the mutex
  std::memset(tier.bytes(slot), 0, format_.payload_bytes(address.kind));
  const std::lock_guard lock(mutex_);
  objects_[address.object].parts[address.volume].blocks[key] = {.address = address, .open_slot = slot};
  return tier.bytes(slot);
}

void BlockWriter::seal(const BlockAddress& address) {
  {
    const std::lock_guard lock(mutex_);
    WritingObject& object = find_object(address.object);
    Part& part = object.parts[address.volume];
    const auto found = part.blocks.find(block_key(address));
    CHECK(found != part.blocks.end(), to_string(address));
    if (!found->second.open_slot) return;
    seal_locked(part, found->second);
    if (object.failure) discard_unwritten(address.object);
  }
  work_.notify_one();
}

void BlockWriter::discard(const BlockAddress& address) {
  const std::lock_guard lock(mutex_);
  const auto object = objects_.find(address.object);
  if (object == objects_.end()) return;
  Part& part = object->second.parts[address.volume];
  const auto found = part.blocks.find(block_key(address));
  if (found == part.blocks.end()) return;
  CHECK(found->second.open_slot.has_value(), to_string(address));
  HostTier& tier = host_.of(address.kind);
  tier.forget(*found->second.open_slot);
  tier.unpin({&*found->second.open_slot, 1});
  part.blocks.erase(found);
}

BlocksHash BlockWriter::finish(ObjectId id, VolumeId volume) {
  std::unique_lock lock(mutex_);
  WritingObject& object = objects_[id];
  Part& part = object.parts[volume];
  for (auto& [key, block] : part.blocks) {
    if (block.open_slot) seal_locked(part, block);
  }
  enqueue_landmarks(part);
  if (object.failure) discard_unwritten(id);
  work_.notify_one();
  while (part.unwritten > 0 && !object.failure) {
    const std::size_t before = part.unwritten;
    progress_.wait_for(lock, write_timeout_, [&] { return part.unwritten < before || object.failure; });
    if (part.unwritten == before && !object.failure) {
      object.failure =
          Error(ErrorCode::unavailable, fmt::format("volume {} took none of {} blocks of object {} in {} ms", volume,
                                                    before, id, write_timeout_.count()));
      discard_unwritten(id);
    }
  }
  if (object.failure) throw *object.failure;
  BlocksHash hash;
  for (const auto& [key, block] : part.blocks) hash.add(key, block.checksum);
  return hash;
}

void BlockWriter::close(ObjectId id, VolumeId volume) {
  const std::lock_guard lock(mutex_);
  const auto found = objects_.find(id);
  found->second.parts.erase(volume);
  if (found->second.parts.empty()) objects_.erase(found);
}

void BlockWriter::abandon(ObjectId id) {
  {
    const std::lock_guard lock(mutex_);
    host_.forget(id);
    if (const auto found = objects_.find(id); found != objects_.end()) {
      discard_unwritten(id);
      for (const auto& [volume, part] : found->second.parts) {
        for (const auto& [key, block] : part.blocks) {
          if (block.open_slot) host_.of(block.address.kind).unpin({&*block.open_slot, 1});
        }
      }
      objects_.erase(found);
    }
    abandoned_.push_back(id);
  }
  work_.notify_one();
}

void BlockWriter::fail(ObjectId id, const Error& error) {
  {
    const std::lock_guard lock(mutex_);
    const auto found = objects_.find(id);
    if (found == objects_.end()) return;
    if (!found->second.failure) found->second.failure = error;
    discard_unwritten(id);
  }
  progress_.notify_all();
}

std::optional<Error> BlockWriter::failure(ObjectId id) const {
  const std::lock_guard lock(mutex_);
  const auto found = objects_.find(id);
  return found == objects_.end() ? std::nullopt : found->second.failure;
}

void BlockWriter::begin_watch() {
  const std::lock_guard lock(mutex_);
  watched_.emplace();
  for (const auto& [id, object] : objects_) watched_->push_back(id);
}

std::vector<ObjectId> BlockWriter::end_watch() {
  const std::lock_guard lock(mutex_);
  return *std::exchange(watched_, std::nullopt);
}

std::uint64_t BlockWriter::blocks_written() const {
  const std::lock_guard lock(mutex_);
  return blocks_written_;
}

void BlockWriter::run() {
  while (true) {
    std::vector<SealedBlock> batch;
    std::optional<ObjectId> abandoned;
    {
      std::unique_lock lock(mutex_);
      work_.wait(lock, [&] { return is_stopping_ || !abandoned_.empty() || !(batch = take_batch()).empty(); });
      if (is_stopping_) return;
      // Blocks of an object are never written behind its erasure: they left the queue when it was abandoned.
      if (batch.empty()) {
        abandoned = abandoned_.front();
        abandoned_.pop_front();
      }
    }
    if (abandoned) {
      erase_abandoned(*abandoned);
      continue;
    }
    std::optional<Error> error;
    try {
      write_batch(batch);
    } catch (const Error& failed) {
      error = failed;
    }
    finish_batch(batch, error);
  }
}

void BlockWriter::erase_abandoned(ObjectId id) {
  for (const auto& [volume_id, held] : volumes_) {
    if (!held.is_accepted) continue;
    try {
      if (held.volume->contains(id)) held.volume->erase({&id, 1});
    } catch (const Error&) {
      // It stays as garbage that no catalogue names: reconcile() collects it when the volume is well again.
    }
  }
}

std::vector<BlockWriter::SealedBlock> BlockWriter::take_batch() {
  const auto is_shorter = [](const auto& a, const auto& b) { return a.second.size() < b.second.size(); };
  const auto longest = std::max_element(queues_.begin(), queues_.end(), is_shorter);
  if (longest == queues_.end()) return {};
  std::deque<SealedBlock>& queue = longest->second;
  std::vector<SealedBlock> batch;
  std::size_t bytes = 0;
  while (!queue.empty()) {
    const SealedBlock& next = queue.front();
    bytes += kBlockKeyBytes + sizeof(BlockHeader) + format_.payload_bytes(next.address.kind);
    if (bytes > protocol::kMaxWriteBatchBytes && !batch.empty()) break;
    batch.push_back(next);
    queue.pop_front();
  }
  return batch;
}

void BlockWriter::write_batch(std::span<const SealedBlock> batch) {
  std::vector<Volume::Block> blocks;
  blocks.reserve(batch.size());
  for (const SealedBlock& sealed : batch) {
    HostTier& tier = host_.of(sealed.address.kind);
    blocks.push_back({.address = sealed.address,
                      .header = tier.header(sealed.slot),
                      .payload = {tier.bytes(sealed.slot), format_.payload_bytes(sealed.address.kind)}});
  }
  protocol::failpoint("commit.before_blocks");
  find_volume(volumes_, batch.front().address.volume).write(blocks);
  protocol::failpoint("commit.between_batches");
}

void BlockWriter::finish_batch(std::span<const SealedBlock> batch, const std::optional<Error>& error) {
  {
    const std::lock_guard lock(mutex_);
    for (const SealedBlock& sealed : batch) {
      if (const auto found = objects_.find(sealed.address.object); found != objects_.end()) {
        if (error && !found->second.failure) found->second.failure = *error;
        --found->second.parts[sealed.address.volume].unwritten;
      }
      // A block that could not be written must not be taken for one that can be read back.
      HostTier& tier = host_.of(sealed.address.kind);
      if (error) tier.forget(sealed.slot);
      tier.end_write(sealed.slot);
    }
    if (!error) blocks_written_ += batch.size();
    if (error) {
      for (const SealedBlock& sealed : batch) discard_unwritten(sealed.address.object);
    }
  }
  progress_.notify_all();
}

void BlockWriter::seal_locked(Part& part, FilledBlock& block) {
  const BlockAddress& address = block.address;
  HostTier& tier = host_.of(address.kind);
  const Slot slot = *block.open_slot;
  tier.header(slot) = make_block_header(address, format_, {tier.bytes(slot), format_.payload_bytes(address.kind)});
  block.checksum = tier.header(slot).checksum;
  block.open_slot.reset();
  if (address.kind == BlockKind::kv) {
    enqueue(part, {.address = address, .slot = slot});
  } else {
    part.waiting_landmarks.push_back({.address = address, .slot = slot});
  }
}

// The filler's pin becomes the writer's.
void BlockWriter::enqueue(Part& part, const SealedBlock& sealed) {
  host_.of(sealed.address.kind).begin_write(sealed.slot);
  ++part.unwritten;
  queues_[sealed.address.volume].push_back(sealed);
}

void BlockWriter::enqueue_landmarks(Part& part) {
  std::vector<SealedBlock> waiting = std::exchange(part.waiting_landmarks, {});
  std::stable_sort(waiting.begin(), waiting.end(),  // as their keys lie
                   [](const SealedBlock& a, const SealedBlock& b) { return a.address.kind < b.address.kind; });
  for (const SealedBlock& sealed : waiting) enqueue(part, sealed);
}

void BlockWriter::discard_unwritten(ObjectId id) {
  const auto found = objects_.find(id);
  if (found == objects_.end()) return;
  for (auto& [volume, part] : found->second.parts) {
    enqueue_landmarks(part);
    std::deque<SealedBlock>& queue = queues_[volume];
    const auto is_kept = [&](const SealedBlock& sealed) { return sealed.address.object != id; };
    const auto first = std::stable_partition(queue.begin(), queue.end(), is_kept);
    for (auto sealed = first; sealed != queue.end(); ++sealed) {
      HostTier& tier = host_.of(sealed->address.kind);
      tier.forget(sealed->slot);
      tier.end_write(sealed->slot);
      --part.unwritten;
    }
    queue.erase(first, queue.end());
  }
}

BlockWriter::WritingObject& BlockWriter::find_object(ObjectId id) {
  const auto found = objects_.find(id);
  CHECK(found != objects_.end(), id);
  return found->second;
}

}  // namespace rotulus::memory_store
