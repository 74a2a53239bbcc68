#include "worker/parallel/step_attention.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "protocol/token_range.h"
#include "worker/parallel/key_delivery.h"
#include "worker/parallel/row_group.h"

namespace rotulus::worker {
namespace {

using kernels::ConstMatrix;
using kernels::Matrix;
using protocol::kBlocksPerStripe;
using protocol::kBlockTokens;

}  // namespace

StepAttention::StepAttention(const GroupSetting& group, std::vector<AttentionItem>& items, Strategy strategy)
    : group_(group),
      items_(items),
      stream_(group.backend.make_stream()),
      delivery_(std::make_unique<KeyDelivery>(group, items)),
      groups_(deal_rows(group, items, strategy)) {}

StepAttention::~StepAttention() = default;

void StepAttention::attend(std::uint32_t layer, ConstMatrix query, Matrix key, ConstMatrix value, Matrix out) {
  for (const AttentionItem& item : items_) {
    for (const ItemRun& run : item.runs) {
      if (run.rank != group_.transport.rank() || run.count == 0) continue;
      std::vector<std::int64_t> positions(run.count);
      for (std::size_t row = 0; row < run.count; ++row) {
        positions[row] = run.first_position + static_cast<std::int64_t>(row);
      }
      group_.backend.rotate(*stream_, group_.model.attention_of(layer).rope, group_.format.kv_heads, positions,
                            {key.row(run.local_row), run.count, key.columns, key.stride});
    }
  }
  stream_->wait();
  delivery_->deliver(layer, key, value, *stream_);
  append_to_tails(layer, key, value);
  for (auto& rows : groups_) attend_group(*rows, layer, query, out);
  delivery_->discard_unseen(layer);
}

void StepAttention::append_to_tails(std::uint32_t layer, ConstMatrix key, ConstMatrix value) {
  for (const AttentionItem& item : items_) {
    if (!item.tail) continue;
    const ItemRun& run = item.runs.front();
    const std::uint64_t first = item.tail->token_count();
    for (std::size_t row = 0; row < run.count;) {
      const auto first_row = static_cast<std::uint32_t>((first + row) % kBlockTokens);
      const std::size_t count = std::min<std::size_t>(kBlockTokens - first_row, run.count - row);
      const std::size_t local = run.local_row + row;
      group_.backend.append(*stream_, group_.format, {key.row(local), count, key.columns, key.stride},
                            {value.row(local), count, value.columns, value.stride}, first_row,
                            item.tail->block(layer, (first + row) / kBlockTokens));
      row += count;
    }
  }
  stream_->wait();
}

void StepAttention::attend_group(RowGroup& rows, std::uint32_t layer, ConstMatrix query, Matrix out) {
  const std::size_t width = std::size_t{group_.model.query_heads} * group_.format.head_dim;
  for (const RowGroup::LocalRun& run : rows.local_runs) {
    std::memcpy(rows.query.data() + run.group_row * width, query.row(run.local_row), run.count * width * sizeof(float));
  }
  const bool slides = group_.model.attention_of(layer).window > 0;
  const RowGroup::Keys& keys = slides ? rows.sliding : rows.full;
  const bool chooses = rows.retrieval && !slides;
  if (chooses || (keys.layout && !keys.by_ring)) gather_queries(group_, rows);
  if (chooses) choose_keys(rows, layer);
  const bool measures = chooses && rows.measures && rows.retrieval->selects_in(layer);
  if (measures && items_[rows.items.front()].audits) audit(rows, layer);
  rows.partials.clear();
  if (keys.layout) {
    (keys.by_ring ? attend_by_ring : attend_gathered)(group_, rows, *keys.layout, layer, *stream_);
  }
  merge_rows(rows, layer);
  if (rows.votes || measures) take_votes(group_, rows, measures, *stream_);
  for (const RowGroup::LocalRun& run : rows.local_runs) {
    std::memcpy(out.row(run.local_row), rows.out.data() + run.group_row * width, run.count * width * sizeof(float));
  }
}

void StepAttention::choose_keys(RowGroup& rows, std::uint32_t layer) {
  Retrieval& retrieval = *rows.retrieval;
  const AttentionItem& item = items_[rows.items.front()];
  if (rows.selects && retrieval.selects_in(layer)) {
    const SelectingRows selecting{.count = item.is_prefill ? rows.all_positions.size() : 1,
                                  .queries = rows.all_queries.data(),
                                  .scan = rows.scans,
                                  .measure = rows.measures};
    const auto failure = retrieval.select(layer, selecting, *stream_);
    if (failure) rows.fail(*failure);
    if (rows.measures) {
      const float* last = rows.all_queries.data() + rows.all_queries.size() -
                          std::size_t{group_.model.query_heads} * group_.format.head_dim;
      const auto unbounded = retrieval.bound(layer, last, rows.all_positions.back(), rows.tile_end, *stream_);
      if (unbounded) rows.fail(*unbounded);
    }
  }
  if (retrieval.takes_up_in(layer)) rows.selection = retrieval.selection(layer);
  rows.full.layout = std::make_unique<Layout>(*item.chunks, retrieval.visible_blocks(*rows.selection, rows.tile_end),
                                              group_.transport.size(), group_.format, group_.holders);
}

// What the rows' sums would be if nothing were left out. The outputs are thrown away.
void StepAttention::audit(RowGroup& rows, std::uint32_t layer) {
  const Layout everything(*items_[rows.items.front()].chunks,
                          rows.retrieval->everything(*rows.selection, rows.tile_end), group_.transport.size(),
                          group_.format, group_.holders);
  rows.partials.clear();
  attend_gathered(group_, rows, everything, layer, *stream_);
  merge_rows(rows, layer);
  rows.lse_of_all = rows.lse;
}

// The nodes of the lane tree, then the tail.
void StepAttention::merge_rows(RowGroup& rows, std::uint32_t layer) {
  const std::size_t row_count = rows.row_counts[group_.transport.rank()];
  if (row_count == 0) return;
  if (rows.has_failed()) {  // nobody will use these rows; they only have to be finite
    std::fill(rows.out.begin(), rows.out.end(), 0.0f);
  } else {
    attend_tail(rows, layer);
    const auto nodes = rows.partials.nodes();
    const auto parts = rows.partials.parts();
    kernels::MergeTask task;
    task.rows = row_count;
    task.query_heads = group_.model.query_heads;
    task.head_dim = group_.format.head_dim;
    task.nodes = nodes;
    task.parts = parts;
    task.tail = {rows.tail_out.data(), rows.tail_lse.data()};
    task.into = {rows.out.data(), rows.lse.data()};
    group_.backend.merge(*stream_, task);
    stream_->wait();
  }
}

// The tail is one leaf: its stripes are folded in order, as a lane's are.
void StepAttention::attend_tail(RowGroup& rows, std::uint32_t layer) {
  std::fill(rows.tail_out.begin(), rows.tail_out.end(), 0.0f);
  std::fill(rows.tail_lse.begin(), rows.tail_lse.end(), -std::numeric_limits<float>::infinity());
  const std::size_t width = std::size_t{group_.model.query_heads} * group_.format.head_dim;
  for (const RowGroup::LocalRun& run : rows.local_runs) {
    Tail* tail = items_[run.item].tail;
    if (!tail) continue;
    Piece piece;
    piece.node = {0, protocol::kLaneCount};
    // Of a question cut into tiles each run has some rows.
    const std::int64_t last = rows.positions[group_.transport.rank()][run.group_row + run.count - 1];
    const auto visible = static_cast<std::uint64_t>(last + 1 - tail->first_position());
    for (std::uint64_t block = 0; block * kBlockTokens < visible; ++block) {
      const std::uint64_t begin = block * kBlockTokens;
      kernels::KvBlock view;
      view.data = tail->block(layer, block);
      view.token_count = static_cast<std::uint32_t>(std::min<std::uint64_t>(kBlockTokens, visible - begin));
      view.first_position = tail->first_position() + static_cast<std::int64_t>(begin);
      piece.blocks.push_back(view);
    }
    for (std::uint32_t first = 0; first < piece.blocks.size(); first += kBlocksPerStripe) {
      const auto count =
          std::min<std::uint32_t>(kBlocksPerStripe, static_cast<std::uint32_t>(piece.blocks.size()) - first);
      piece.stripes.push_back({0, first, count});
    }
    attend_piece(group_, layer, *stream_, piece, piece.blocks, run.count, rows.query.data() + run.group_row * width,
                 rows.positions[group_.transport.rank()].data() + run.group_row,
                 {rows.tail_out.data() + run.group_row * width,
                  rows.tail_lse.data() + run.group_row * group_.model.query_heads});
  }
}

}  // namespace rotulus::worker
