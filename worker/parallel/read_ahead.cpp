#include "worker/parallel/read_ahead.h"

#include "protocol/lanes.h"
#include "protocol/limits.h"
#include "protocol/token_range.h"

namespace rotulus::worker {
namespace {

using memory_store::BlockAddress;
using RowGroup = StepAttention::RowGroup;

// A message's worth of the pages that were chosen last.
std::vector<std::uint32_t> guess_chosen(const GroupSetting& group, const RowGroup& rows, std::uint32_t layer) {
  const protocol::LaneRange own = protocol::lanes_of_rank(group.transport.rank(), group.transport.size());
  const std::size_t most = protocol::kRingMessageBytes / group.format.block_bytes();
  const bool takes_up = rows.retrieval->takes_up_in(layer) || !rows.selection;
  const Retrieval::SharedSelection selection = takes_up ? rows.retrieval->selection(layer) : rows.selection;
  std::vector<std::uint32_t> blocks;
  for (const VisibleBlock& block : rows.retrieval->visible_blocks(*selection, rows.tile_end)) {
    if (blocks.size() < most && own.contains(protocol::lane_of_block(block.index))) blocks.push_back(block.index);
  }
  return blocks;
}

std::vector<std::uint32_t> first_blocks(const GroupSetting& group, const RowGroup& rows, std::uint32_t layer) {
  const bool slides = group.model.attention_of(layer).window > 0;
  if (rows.retrieval && !slides) return guess_chosen(group, rows, layer);
  const RowGroup::Keys& keys = slides ? rows.sliding : rows.full;
  if (!keys.layout || keys.layout->pieces(group.transport.rank()).empty()) return {};
  return keys.layout->pieces(group.transport.rank()).front().block_indices;
}

}  // namespace

std::vector<BlockAddress> blocks_attended_next(const GroupSetting& group, const RowGroup& rows, const Layout& layout,
                                               std::uint32_t layer, std::size_t round) {
  const auto& own = layout.pieces(group.transport.rank());
  const bool is_last_piece = round + 1 >= own.size();
  const RowGroup& next = is_last_piece ? *rows.next : rows;
  const std::uint32_t next_layer = is_last_piece && rows.is_last ? (layer + 1) % group.model.layers : layer;
  const auto blocks = is_last_piece ? first_blocks(group, next, next_layer) : own[round + 1].block_indices;
  std::vector<BlockAddress> addresses;
  const AttentionItem& item = next.all_items[next.items.front()];
  for (const std::uint32_t block : blocks) {
    // The rows' own keys are appended in each layer when it comes to them.
    const bool is_old = std::uint64_t{block} * protocol::kBlockTokens < next.first_new_key;
    if (is_old) addresses.push_back(block_address(*item.chunks, next_layer, block));
  }
  return addresses;
}

}  // namespace rotulus::worker
