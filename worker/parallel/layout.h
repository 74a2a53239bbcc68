// Where the keys of a context are: objects, volumes, lanes and the ranks that own them, cut into pieces that travel.
//
// Everything here is a pure function of what all ranks know, so that both ends of an exchange agree on every size.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "kernels/backend.h"
#include "memory_store/kv_store.h"
#include "protocol/lanes.h"
#include "protocol/messages.h"
#include "protocol/token_range.h"

namespace rotulus::worker {

// One chunk of a context: the object that holds it (0: not computed) and on which volumes its lanes lie.
struct ChunkLocation {
  protocol::ObjectId object;
  protocol::Placement placement;
  bool operator==(const ChunkLocation&) const = default;
};

using VolumeHolders = std::map<protocol::VolumeId, std::uint32_t>;  // the rank that has a volume open

// One block of a context as some rows see it.
struct VisibleBlock {
  std::uint32_t index = 0;
  std::uint32_t token_count = protocol::kBlockTokens;
  std::int64_t shift = 0;                    // kernels::KvBlock
  const std::uint8_t* head_masks = nullptr;  // [kv_heads], alive as long as the layout; nullptr: all pages
};
// Every block of the first `visible_end` tokens, where it truly stands.
std::vector<VisibleBlock> all_blocks(std::uint64_t visible_end);
// Of these, what rows at positions `rows` see in a layer that slides.
std::vector<VisibleBlock> sliding_blocks(const protocol::TokenRange& rows, std::uint32_t window,
                                         std::uint64_t visible_end);

// A run of lanes of one rank whose keys are attended in one call and sent in one message: one node of the lane tree.
struct Piece {
  kernels::LaneSpan node;
  std::vector<kernels::KvBlock> blocks;      // without data
  std::vector<std::uint32_t> block_indices;  // in the context, as `blocks`
  std::vector<kernels::Stripe> stripes;
};

// The pieces of each rank for some blocks of a context. A piece without keys is left out.
class Layout final {
 public:
  // blocks: ascending.
  Layout(const std::vector<ChunkLocation>& chunks, std::span<const VisibleBlock> blocks, std::uint32_t rank_count,
         const kernels::KvFormat& format, const VolumeHolders& holders);

  const std::vector<Piece>& pieces(std::uint32_t rank) const { return pieces_[rank]; }
  std::size_t most_pieces() const;  // over the ranks
  std::size_t block_count() const { return block_count_; }
  // Some rank owns lanes that lie on a volume of another: blocks may have to be fetched.
  bool has_foreign_blocks() const { return has_foreign_blocks_; }

  memory_store::BlockAddress address(std::uint32_t layer, std::uint32_t block) const;

 private:
  const std::vector<ChunkLocation>& chunks_;
  std::vector<std::vector<Piece>> pieces_;  // [rank]
  std::size_t block_count_ = 0;
  bool has_foreign_blocks_ = false;
};

// The address of a block under the object that holds, or will hold, its chunk.
memory_store::BlockAddress block_address(const std::vector<ChunkLocation>& chunks, std::uint32_t layer,
                                         std::uint32_t block);
// Of the landmarks, or bounds, of the stripe in which the block lies.
memory_store::BlockAddress landmark_address(const std::vector<ChunkLocation>& chunks, std::uint32_t layer,
                                            std::uint32_t block,
                                            memory_store::BlockKind kind = memory_store::BlockKind::landmarks);

}  // namespace rotulus::worker
