#include "worker/parallel/key_delivery.h"

#include <algorithm>
#include <cstring>

#include "protocol/kv_cost.h"
#include "protocol/lanes.h"
#include "protocol/token_range.h"
#include "worker/parallel/exchange.h"

namespace rotulus::worker {

using protocol::kBlockTokens;
using protocol::kStripeTokens;

KeyDelivery::KeyDelivery(const GroupSetting& group, std::vector<AttentionItem>& items)
    : group_(group),
      items_(items),
      width_(std::size_t{group.format.kv_heads} * group.format.head_dim),
      outgoing_(group.transport.size()),
      incoming_(group.transport.size()) {
  std::vector<std::size_t> send_rows(group.transport.size());
  std::vector<std::size_t> receive_rows(group.transport.size());
  for (std::size_t item = 0; item < items.size(); ++item) {
    if (!items[item].appends_to_context) continue;
    for (const ItemRun& run : items[item].runs) {
      for (std::size_t row = 0; row < run.count;) {
        const std::int64_t position = run.first_position + static_cast<std::int64_t>(row);
        const std::uint64_t stripe = static_cast<std::uint64_t>(position) / kStripeTokens;
        const std::size_t left = (stripe + 1) * kStripeTokens - static_cast<std::uint64_t>(position);
        const std::size_t count = std::min(left, run.count - row);
        const std::uint32_t owner = protocol::rank_of_lane(protocol::lane_of_stripe(stripe), group.transport.size());
        segments_.push_back({item, run.rank, owner, position, count, run.local_row + row});
        if (run.rank == group.transport.rank()) send_rows[owner] += count;
        if (owner == group.transport.rank()) receive_rows[run.rank] += count;
        row += count;
      }
    }
  }
  for (std::uint32_t rank = 0; rank < group.transport.size(); ++rank) {
    outgoing_[rank].resize(send_rows[rank] * 2 * width_ * sizeof(float));
    incoming_[rank].resize(receive_rows[rank] * 2 * width_ * sizeof(float));
  }
}

void KeyDelivery::deliver(std::uint32_t layer, kernels::ConstMatrix key, kernels::ConstMatrix value,
                          kernels::Stream& stream) {
  if (segments_.empty()) return;
  const std::uint32_t me = group_.transport.rank();
  std::vector<std::size_t> filled(outgoing_.size());
  for (const KeySegment& segment : segments_) {
    if (segment.from != me) continue;
    std::byte* to = outgoing_[segment.to].data() + filled[segment.to];
    const std::size_t bytes = segment.count * width_ * sizeof(float);
    std::memcpy(to, key.row(segment.local_row), bytes);
    std::memcpy(to + bytes, value.row(segment.local_row), bytes);
    filled[segment.to] += 2 * bytes;
  }
  std::vector<std::span<const std::byte>> send(outgoing_.begin(), outgoing_.end());
  std::vector<std::span<std::byte>> receive(incoming_.begin(), incoming_.end());
  exchange(group_.transport, send, receive);

  std::vector<std::size_t> taken(incoming_.size());
  for (const KeySegment& segment : segments_) {
    if (segment.to != me) continue;
    const auto* from = reinterpret_cast<const float*>(incoming_[segment.from].data() + taken[segment.from]);
    taken[segment.from] += 2 * segment.count * width_ * sizeof(float);
    append(segment, layer, from, from + segment.count * width_, stream);
  }
}

void KeyDelivery::append(const KeySegment& segment, std::uint32_t layer, const float* key, const float* value,
                         kernels::Stream& stream) {
  AttentionItem& item = items_[segment.item];
  if (item.failure) return;
  const std::uint32_t window = group_.model.attention_of(layer).window;
  const std::uint64_t first_kept = protocol::first_token_seen(item.chunk_end, window);
  try {
    for (std::size_t row = 0; row < segment.count;) {
      const auto position = static_cast<std::uint64_t>(segment.position) + row;
      const auto first_row = static_cast<std::uint32_t>(position % kBlockTokens);
      const std::size_t count = std::min<std::size_t>(kBlockTokens - first_row, segment.count - row);
      const auto address = block_address(*item.chunks, layer, static_cast<std::uint32_t>(position / kBlockTokens));
      std::byte* block = group_.store.block_for_writing(address);
      group_.backend.append(stream, group_.format, {key + row * width_, count, width_, width_},
                            {value + row * width_, count, width_, width_}, first_row, block);
      stream.wait();
      if (first_row + count == kBlockTokens) {
        if (item.kept.landmark_version != 0 && window == 0) {
          summarize(item, layer, address.block, block, stream);
        }
        if (position - first_row + kBlockTokens > first_kept) group_.store.seal(address);
      }
      row += count;
    }
  } catch (const protocol::Error& error) {
    item.failure = AttentionFailure{error.code(), error.message(), {}};
  }
}

// What the rows of earlier steps could not see any more is gone already; so at the chunk's end what is not committed
// is.
void KeyDelivery::discard_unseen(std::uint32_t layer) {
  const std::uint32_t window = group_.model.attention_of(layer).window;
  if (window == 0) return;
  const protocol::LaneRange own = protocol::lanes_of_rank(group_.transport.rank(), group_.transport.size());
  for (const AttentionItem& item : items_) {
    if (!item.appends_to_context) continue;
    const auto begin = static_cast<std::uint64_t>(item.runs.front().first_position);
    const std::uint64_t chunk_begin = begin - begin % protocol::kChunkTokens;
    const std::uint64_t first_seen = protocol::first_token_seen(item.visible_end, window);
    std::uint64_t block = std::max(protocol::first_token_seen(begin, window), chunk_begin) / kBlockTokens;
    for (; (block + 1) * kBlockTokens <= first_seen; ++block) {
      if (!own.contains(protocol::lane_of_block(block))) continue;
      group_.store.discard(block_address(*item.chunks, layer, static_cast<std::uint32_t>(block)));
    }
  }
}

// Landmarks are made of complete blocks only, from their stored form: the same bytes whoever makes them again.
// Centroids are, as soon as the last complete block of their stripe is there.
void KeyDelivery::summarize(const AttentionItem& item, std::uint32_t layer, std::uint32_t block, const std::byte* keys,
                            kernels::Stream& stream) {
  const std::uint32_t place = block % protocol::kBlocksPerStripe;
  const kernels::Rope& rope = group_.model.attention_of(layer).rope;
  std::vector<memory_store::BlockAddress> filled;
  const auto memory = [&](protocol::LandmarkKinds kind, memory_store::BlockKind stored, std::size_t block_bytes) {
    if ((item.kept.landmarks & kind) == 0) return static_cast<std::byte*>(nullptr);
    filled.push_back(landmark_address(*item.chunks, layer, block, stored));
    return group_.store.block_for_writing(filled.back()) + place * block_bytes;
  };
  using memory_store::BlockKind;
  std::byte* landmarks =
      memory(protocol::kKeepsSketches, BlockKind::landmarks, kernels::landmark_block_bytes(group_.format));
  std::byte* bounds = memory(protocol::kKeepsBounds, BlockKind::bounds, kernels::bounds_block_bytes(group_.format));
  group_.backend.summarize(stream, group_.format, rope, std::int64_t{block} * kBlockTokens, keys, landmarks, bounds);
  stream.wait();
  const bool is_last = place + 1 == protocol::kBlocksPerStripe || (block + 2) * kBlockTokens > item.chunk_end;
  if (is_last && (item.kept.landmarks & protocol::kKeepsCentroids) != 0) {
    std::vector<memory_store::BlockAddress> before;
    for (std::uint32_t b = block - place; b < block; ++b) before.push_back(block_address(*item.chunks, layer, b));
    const memory_store::PinnedBlocks pinned = group_.store.pin(before);
    std::vector<const std::byte*> blocks;
    for (std::size_t b = 0; b < before.size(); ++b) blocks.push_back(pinned[b]);
    blocks.push_back(keys);
    std::byte* centroids = memory(protocol::kKeepsCentroids, BlockKind::centroids, 0);
    group_.backend.cluster(stream, group_.format, rope, std::int64_t{block - place} * kBlockTokens, blocks, centroids);
    stream.wait();
  }
  if (place + 1 < protocol::kBlocksPerStripe) return;
  for (const memory_store::BlockAddress& address : filled) group_.store.seal(address);
}

}  // namespace rotulus::worker
