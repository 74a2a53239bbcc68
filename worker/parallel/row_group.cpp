#include "worker/parallel/row_group.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "worker/parallel/foreign_blocks.h"
#include "worker/parallel/read_ahead.h"

namespace rotulus::worker {

kernels::Partial NodePartials::add(const kernels::LaneSpan& node, std::size_t rows) {
  if (used_ == entries_.size()) entries_.push_back(std::make_unique<Entry>());
  Entry& entry = *entries_[used_++];
  entry.node = node;
  entry.out.resize(rows * heads_ * head_dim_);
  entry.lse.resize(rows * heads_);
  return {entry.out.data(), entry.lse.data()};
}

std::vector<kernels::LaneSpan> NodePartials::nodes() const {
  std::vector<kernels::LaneSpan> nodes;
  for (std::size_t i = 0; i < used_; ++i) nodes.push_back(entries_[i]->node);
  return nodes;
}

std::vector<kernels::ConstPartial> NodePartials::parts() const {
  std::vector<kernels::ConstPartial> parts;
  for (std::size_t i = 0; i < used_; ++i) parts.push_back({entries_[i]->out.data(), entries_[i]->lse.data()});
  return parts;
}

namespace {

// From the first of these positions to behind the last.
protocol::TokenRange rows_of(const std::vector<std::vector<std::int64_t>>& positions) {
  std::int64_t first = std::numeric_limits<std::int64_t>::max();
  std::int64_t last = -1;
  for (const auto& of_rank : positions) {
    for (const std::int64_t position : of_rank) {
      first = std::min(first, position);
      last = std::max(last, position);
    }
  }
  if (last < 0) return {};
  return {static_cast<std::uint64_t>(first), static_cast<std::uint64_t>(last) + 1};
}

}  // namespace

StepAttention::RowGroup::RowGroup(const GroupSetting& group, std::vector<AttentionItem>& all,
                                  const std::vector<Segment>& segments, std::span<const VisibleBlock> visible,
                                  std::uint64_t visible_end)
    : all_items(all),
      row_counts(group.transport.size()),
      positions(group.transport.size()),
      partials(group.model.query_heads, group.format.head_dim),
      own_nodes(group.model.query_heads, group.format.head_dim) {
  for (const Segment& segment : segments) {
    if (items.empty() || items.back() != segment.item) items.push_back(segment.item);
    const ItemRun& run = segment.run;
    if (run.count == 0) continue;
    if (run.rank == group.transport.rank()) {
      local_runs.push_back({segment.item, row_counts[run.rank], run.local_row, run.count});
    }
    row_counts[run.rank] += run.count;
    for (std::size_t row = 0; row < run.count; ++row) {
      positions[run.rank].push_back(run.first_position + static_cast<std::int64_t>(row));
    }
  }
  const auto* chunks = all_items[items.front()].chunks;
  const auto lay_out = [&](std::span<const VisibleBlock> blocks) {
    return std::make_unique<Layout>(*chunks, blocks, group.transport.size(), group.format, group.holders);
  };
  if (!visible.empty()) full.layout = lay_out(visible);
  if (const std::uint32_t window = group.model.sliding_attention.window; chunks && window > 0) {
    sliding.layout = lay_out(sliding_blocks(rows_of(positions), window, visible_end));
  }
  const AttentionItem& first_item = all_items[items.front()];
  first_new_key = first_item.appends_to_context ? static_cast<std::uint64_t>(first_item.runs.front().first_position)
                                                : first_item.visible_end;
  const std::size_t local = row_counts[group.transport.rank()] * group.model.query_heads;
  query.resize(local * group.format.head_dim);
  out.resize(query.size());
  lse.resize(local);
  tail_out.resize(query.size());
  tail_lse.resize(local);
}

bool StepAttention::RowGroup::has_failed() const {
  return std::any_of(items.begin(), items.end(), [&](std::size_t item) { return all_items[item].failure.has_value(); });
}

void StepAttention::RowGroup::fail(const AttentionFailure& failure) {
  for (const std::size_t item : items) {
    if (!all_items[item].failure) all_items[item].failure = failure;
  }
}

LoadedPiece::LoadedPiece(const GroupSetting& group, StepAttention::RowGroup& rows, const Layout& layout,
                         std::uint32_t layer, std::size_t round)
    : block_bytes_(group.format.block_bytes()) {
  const auto& own = layout.pieces(group.transport.rank());
  std::vector<memory_store::BlockAddress> addresses;
  if (round < own.size()) {
    piece_ = &own[round];
    for (const std::uint32_t block : piece_->block_indices) addresses.push_back(layout.address(layer, block));
  }
  std::vector<memory_store::PinnedBlocks> held;  // until all are pinned
  if (layout.has_foreign_blocks()) {
    const auto failure = fetch_foreign_blocks(group, addresses, held);
    if (failure) rows.fail(*failure);
  }
  if (!piece_ || rows.has_failed()) return;
  if (const auto failure = pin_blocks(group, addresses, pinned_)) {
    rows.fail(*failure);
    return;
  }
  // The piece at hand is pinned: reading on cannot drive it out.
  group.store.prefetch(blocks_attended_next(group, rows, layout, layer, round));
  is_readable_ = true;
  blocks_ = piece_->blocks;
  for (std::size_t i = 0; i < blocks_.size(); ++i) blocks_[i].data = pinned_[i];
}

void LoadedPiece::pack(std::byte* into) const {
  if (!is_readable_) {
    std::memset(into, 0, piece_->blocks.size() * block_bytes_);
    return;
  }
  for (std::size_t i = 0; i < blocks_.size(); ++i) std::memcpy(into + i * block_bytes_, blocks_[i].data, block_bytes_);
}

void attend_piece(const GroupSetting& group, std::uint32_t layer, kernels::Stream& stream, const Piece& piece,
                  std::span<const kernels::KvBlock> blocks, std::size_t row_count, const float* query,
                  const std::int64_t* positions, kernels::Partial into, float* page_lse) {
  if (row_count == 0) return;
  kernels::AttendTask task;
  task.format = group.format;
  task.query_heads = group.model.query_heads;
  task.rows = row_count;
  task.queries = query;
  task.positions = positions;
  task.rope = group.model.attention_of(layer).rope;
  task.scale = group.model.softmax_scale;
  task.window = group.model.attention_of(layer).window;
  task.soft_cap = group.model.attention_soft_cap;
  task.blocks = blocks;
  task.stripes = piece.stripes;
  task.nodes = {&piece.node, 1};
  task.parts = {&into, 1};
  task.page_lse = page_lse;
  task.progress = [&group] { group.transport.progress(); };
  group.backend.attend(stream, task);
  stream.wait();
}

}  // namespace rotulus::worker
