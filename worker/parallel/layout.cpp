#include "worker/parallel/layout.h"

#include <algorithm>

#include "protocol/error.h"
#include "protocol/kv_cost.h"
#include "protocol/limits.h"
#include "protocol/token_range.h"

namespace rotulus::worker {
namespace {

using protocol::kBlocksPerChunk;
using protocol::kBlocksPerStripe;
using protocol::kBlockTokens;

// The visible blocks of each stripe, by lane and then by position.
using StripesOfLane = std::vector<std::vector<std::span<const VisibleBlock>>>;  // [lane]

StripesOfLane deal_stripes(std::span<const VisibleBlock> blocks) {
  StripesOfLane stripes(protocol::kLaneCount);
  while (!blocks.empty()) {
    const std::uint64_t stripe = blocks.front().index / kBlocksPerStripe;
    std::size_t count = 1;
    while (count < blocks.size() && blocks[count].index / kBlocksPerStripe == stripe) ++count;
    stripes[protocol::lane_of_stripe(stripe)].push_back(blocks.first(count));
    blocks = blocks.subspan(count);
  }
  return stripes;
}

std::size_t stripe_count(const StripesOfLane& stripes, const kernels::LaneSpan& node) {
  std::size_t count = 0;
  for (std::uint32_t lane = node.first; lane < node.first + node.size; ++lane) count += stripes[lane].size();
  return count;
}

Piece make_piece(const StripesOfLane& stripes, const kernels::LaneSpan& node) {
  Piece piece;
  piece.node = node;
  for (std::uint32_t lane = node.first; lane < node.first + node.size; ++lane) {
    for (const auto& stripe : stripes[lane]) {
      piece.stripes.push_back(
          {lane, static_cast<std::uint32_t>(piece.blocks.size()), static_cast<std::uint32_t>(stripe.size())});
      for (const VisibleBlock& visible : stripe) {
        kernels::KvBlock block;
        block.token_count = visible.token_count;
        block.first_position = std::int64_t{visible.index} * kBlockTokens;
        block.shift = visible.shift;
        block.head_masks = visible.head_masks;
        piece.blocks.push_back(block);
        piece.block_indices.push_back(visible.index);
      }
    }
  }
  return piece;
}

// Halves a node until its keys fit one message, or it is one lane.
void cut(const StripesOfLane& stripes, const kernels::LaneSpan& node, std::size_t stripes_per_piece,
         std::vector<Piece>& pieces) {
  const std::size_t count = stripe_count(stripes, node);
  if (count == 0) return;
  if (count <= stripes_per_piece || node.size == 1) {
    pieces.push_back(make_piece(stripes, node));
    return;
  }
  const std::uint32_t half = node.size / 2;
  cut(stripes, {node.first, half}, stripes_per_piece, pieces);
  cut(stripes, {node.first + half, half}, stripes_per_piece, pieces);
}

}  // namespace

std::vector<VisibleBlock> all_blocks(std::uint64_t visible_end) {
  std::vector<VisibleBlock> blocks;
  for (std::uint64_t begin = 0; begin < visible_end; begin += kBlockTokens) {
    VisibleBlock block;
    block.index = static_cast<std::uint32_t>(begin / kBlockTokens);
    block.token_count = static_cast<std::uint32_t>(std::min<std::uint64_t>(kBlockTokens, visible_end - begin));
    blocks.push_back(block);
  }
  return blocks;
}

std::vector<VisibleBlock> sliding_blocks(const protocol::TokenRange& rows, std::uint32_t window,
                                         std::uint64_t visible_end) {
  const std::uint64_t first_seen = protocol::first_token_seen(rows.begin, window);
  std::vector<VisibleBlock> blocks = all_blocks(std::min(visible_end, rows.end));
  const std::uint64_t unseen = std::min<std::uint64_t>(first_seen / kBlockTokens, blocks.size());
  blocks.erase(blocks.begin(), blocks.begin() + static_cast<std::ptrdiff_t>(unseen));
  return blocks;
}

Layout::Layout(const std::vector<ChunkLocation>& chunks, std::span<const VisibleBlock> blocks, std::uint32_t rank_count,
               const kernels::KvFormat& format, const VolumeHolders& holders)
    : chunks_(chunks), pieces_(rank_count), block_count_(blocks.size()) {
  const StripesOfLane stripes = deal_stripes(blocks);
  const std::size_t stripe_bytes = kBlocksPerStripe * format.block_bytes();
  const std::size_t stripes_per_piece = std::max<std::size_t>(1, protocol::kRingMessageBytes / stripe_bytes);
  for (std::uint32_t rank = 0; rank < rank_count; ++rank) {
    for (const protocol::LaneNode& node : protocol::cover(protocol::lanes_of_rank(rank, rank_count))) {
      cut(stripes, {node.first, node.size}, stripes_per_piece, pieces_[rank]);
    }
    for (const Piece& piece : pieces_[rank]) {
      for (const std::uint32_t block : piece.block_indices) {
        const auto holder = holders.find(block_address(chunks, 0, block).volume);
        if (holder != holders.end() && holder->second != rank) has_foreign_blocks_ = true;
      }
    }
  }
}

std::size_t Layout::most_pieces() const {
  std::size_t most = 0;
  for (const auto& pieces : pieces_) most = std::max(most, pieces.size());
  return most;
}

memory_store::BlockAddress Layout::address(std::uint32_t layer, std::uint32_t block) const {
  return block_address(chunks_, layer, block);
}

memory_store::BlockAddress block_address(const std::vector<ChunkLocation>& chunks, std::uint32_t layer,
                                         std::uint32_t block) {
  const std::size_t chunk = block / kBlocksPerChunk;
  CHECK(chunk < chunks.size() && chunks[chunk].object, block, chunks.size());
  return {chunks[chunk].object, layer, block,
          protocol::volume_of_lane(chunks[chunk].placement, protocol::lane_of_block(block))};
}

memory_store::BlockAddress landmark_address(const std::vector<ChunkLocation>& chunks, std::uint32_t layer,
                                            std::uint32_t block, memory_store::BlockKind kind) {
  memory_store::BlockAddress address = block_address(chunks, layer, block - block % kBlocksPerStripe);
  address.kind = kind;
  return address;
}

}  // namespace rotulus::worker
