#include "memory_store/slices.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "protocol/error.h"
#include "protocol/limits.h"
#include "protocol/token_range.h"

namespace rotulus::memory_store {

using protocol::Error;
using protocol::ErrorCode;

namespace {

std::vector<BlockAddress> addresses_of(const SliceAddress& slice, const StoredShape& shape, std::uint32_t end) {
  const auto first = static_cast<std::uint32_t>(slice.stripe * protocol::kBlocksPerStripe);
  std::vector<BlockAddress> addresses;
  for (std::uint32_t block = first; block < std::min(first + protocol::kBlocksPerStripe, end); ++block) {
    addresses.push_back({slice.object, slice.layer, block, slice.volume, BlockKind::kv});
  }
  for (const BlockKind kind : kStripeKinds) {
    if (shape.format.payload_bytes(kind) == 0 || addresses.empty()) continue;
    addresses.push_back({slice.object, slice.layer, first, slice.volume, kind});
  }
  return addresses;
}

// Writes blocks as batches that a volume takes.
class Batches final {
 public:
  explicit Batches(Volume& volume) : volume_(volume) {}

  // What `block` views stays until flush().
  void add(const Volume::Block& block) {
    const std::size_t bytes = sizeof(BlockHeader) + block.payload.size();
    if (!blocks_.empty() && bytes_ + bytes > protocol::kMaxWriteBatchBytes) flush();
    blocks_.push_back(block);
    bytes_ += bytes;
  }

  void flush() {
    if (!blocks_.empty()) volume_.write(blocks_);
    blocks_.clear();
    bytes_ = 0;
  }

 private:
  Volume& volume_;
  std::vector<Volume::Block> blocks_;
  std::size_t bytes_ = 0;
};

[[noreturn]] void refuse(std::size_t offset, const std::string& why) {
  throw Error(ErrorCode::storage_corrupt, fmt::format("at byte {} of the slice: {}", offset, why));
}

// The block that begins at `offset`, verified under the identity that it came with.
Volume::Block read_block(std::span<const std::byte> bytes, std::size_t offset, const SliceAddress& slice,
                         const StoredShape& shape) {
  Volume::Block block;
  if (bytes.size() - offset < sizeof(BlockHeader)) refuse(offset, "the header of a block is cut off");
  std::memcpy(&block.header, bytes.data() + offset, sizeof(BlockHeader));
  if (block.header.kind > static_cast<std::uint8_t>(BlockKind::centroids)) refuse(offset, "a block of no known kind");
  const auto kind = static_cast<BlockKind>(block.header.kind);
  block.address = {{block.header.object}, block.header.layer, block.header.block, slice.volume, kind};
  const std::size_t payload_bytes = shape.format.payload_bytes(kind);
  if (payload_bytes == 0 || bytes.size() - offset - sizeof(BlockHeader) < payload_bytes) {
    refuse(offset, to_string(block.address) + ": it is cut off, or of a kind that this store does not keep");
  }
  block.payload = bytes.subspan(offset + sizeof(BlockHeader), payload_bytes);
  if (const auto damage = find_damage(block.header, block.payload, block.address, shape.format)) {
    refuse(offset, fmt::format("{}: {}", to_string(block.address), *damage));
  }
  const bool is_first = block.address.block % protocol::kBlocksPerStripe == 0;
  if (block.address.layer != slice.layer || block.address.block / protocol::kBlocksPerStripe != slice.stripe ||
      (kind != BlockKind::kv && !is_first)) {
    refuse(offset,
           fmt::format("{} is not of stripe {}, layer {}", to_string(block.address), slice.stripe, slice.layer));
  }
  return block;
}

}  // namespace

StoredSlice read_slice(const Volume& volume, const SliceAddress& address, std::uint64_t manifest_hash,
                       const StoredShape& shape) {
  CHECK(address.layer < shape.layers, address.layer, shape.layers);
  const auto value = volume.manifest(address.object);
  if (!value) {
    throw Error(ErrorCode::not_found, fmt::format("volume {} has no object {}", address.volume, address.object));
  }
  const auto manifest = read_manifest(*value, address.object, address.volume);
  if (!manifest || manifest->hash != manifest_hash) {
    throw Error(ErrorCode::storage_corrupt, fmt::format("the manifest record of object {} on volume {} is damaged",
                                                        address.object, address.volume));
  }
  StoredSlice slice{.bytes = {}, .object_block_count = manifest->record.block_count};
  const auto end = static_cast<std::uint32_t>(protocol::block_count(manifest->record.range.end));
  for (const BlockAddress& block : addresses_of(address, shape, end)) {
    const std::size_t begin = slice.bytes.size();
    slice.bytes.resize(begin + sizeof(BlockHeader) + shape.format.payload_bytes(block.kind));
    BlockHeader header;
    const std::span payload = std::span(slice.bytes).subspan(begin + sizeof(BlockHeader));
    if (volume.read(block, header, payload) || find_damage(header, payload, block, shape.format)) {
      slice.bytes.resize(begin);
      continue;
    }
    std::memcpy(slice.bytes.data() + begin, &header, sizeof(header));
    ++slice.block_count;
  }
  return slice;
}

std::uint32_t SliceWriter::write(Volume& volume, const SliceAddress& address, std::span<const std::byte> bytes) {
  Part& part = objects_[address.object][address.volume];
  Batches batches(volume);
  std::uint32_t count = 0;
  for (std::size_t offset = 0; offset < bytes.size(); ++count) {
    Volume::Block block = read_block(bytes, offset, address, shape_);
    offset += sizeof(BlockHeader) + block.payload.size();
    block.address.object = address.object;
    block.header = make_block_header(block.address, shape_.format, block.payload);
    if (!part.checksums.emplace(block_key(block.address), block.header.checksum).second) {
      refuse(offset, to_string(block.address) + " comes a second time");
    }
    if (block.address.kind == BlockKind::kv) {
      batches.add(block);
    } else {
      part.landmarks.push_back({block.address, block.header, {block.payload.begin(), block.payload.end()}});
    }
  }
  batches.flush();
  return count;
}

StoredManifest SliceWriter::finish(Volume& volume, protocol::ManifestRecord& record) {
  const Part part = std::move(objects_[record.object][record.volume]);
  objects_[record.object].erase(record.volume);
  if (objects_[record.object].empty()) objects_.erase(record.object);
  Batches batches(volume);
  for (const Waiting& waiting : part.landmarks) batches.add({waiting.address, waiting.header, waiting.payload});
  batches.flush();
  BlocksHash hash;
  for (const auto& [key, checksum] : part.checksums) hash.add(key, checksum);
  record.block_count = hash.count();
  record.blocks_hash = hash.value();
  return store_manifest(record);
}

void SliceWriter::forget(ObjectId object) {
  objects_.erase(object);
}

}  // namespace rotulus::memory_store
