// Pass-Q: the queries of all ranks come together on every rank, each attends them over its own lanes, and the tree
// nodes go back to where the rows live. For decoding, and wherever the rows are fewer than the keys.
#include <cstring>

#include "worker/parallel/exchange.h"
#include "worker/parallel/row_group.h"

namespace rotulus::worker {
namespace {

// The nodes over this rank's lanes, out and lse of one rank's rows, node after node.
std::vector<std::byte> pack_nodes(const NodePartials& nodes, std::size_t first_row, std::size_t row_count,
                                  std::size_t heads, std::size_t head_dim) {
  std::vector<std::byte> message;
  for (const kernels::ConstPartial& part : nodes.parts()) {
    const auto out = std::as_bytes(std::span(part.out + first_row * heads * head_dim, row_count * heads * head_dim));
    const auto lse = std::as_bytes(std::span(part.lse + first_row * heads, row_count * heads));
    message.insert(message.end(), out.begin(), out.end());
    message.insert(message.end(), lse.begin(), lse.end());
  }
  return message;
}

void return_nodes(const GroupSetting& group, StepAttention::RowGroup& rows, const Layout& layout) {
  const std::size_t heads = group.model.query_heads;
  const std::size_t head_dim = group.format.head_dim;
  const std::uint32_t size = group.transport.size();
  const std::size_t own_rows = rows.row_counts[group.transport.rank()];
  std::vector<std::vector<std::byte>> outgoing(size);
  std::vector<std::vector<std::byte>> incoming(size);
  std::size_t first_row = 0;
  for (std::uint32_t rank = 0; rank < size; ++rank) {
    outgoing[rank] = pack_nodes(rows.own_nodes, first_row, rows.row_counts[rank], heads, head_dim);
    incoming[rank].resize(layout.pieces(rank).size() * own_rows * heads * (head_dim + 1) * sizeof(float));
    first_row += rows.row_counts[rank];
  }
  std::vector<std::span<const std::byte>> send(outgoing.begin(), outgoing.end());
  std::vector<std::span<std::byte>> receive(incoming.begin(), incoming.end());
  exchange(group.transport, send, receive);
  for (std::uint32_t rank = 0; rank < size; ++rank) {
    const std::byte* from = incoming[rank].data();
    for (const Piece& piece : layout.pieces(rank)) {
      const kernels::Partial part = rows.partials.add(piece.node, own_rows);
      if (own_rows == 0) continue;
      std::memcpy(part.out, from, own_rows * heads * head_dim * sizeof(float));
      from += own_rows * heads * head_dim * sizeof(float);
      std::memcpy(part.lse, from, own_rows * heads * sizeof(float));
      from += own_rows * heads * sizeof(float);
    }
  }
}

}  // namespace

void gather_queries(const GroupSetting& group, StepAttention::RowGroup& rows) {
  const std::size_t width = std::size_t{group.model.query_heads} * group.format.head_dim;
  rows.all_positions.clear();
  for (const auto& positions : rows.positions) {
    rows.all_positions.insert(rows.all_positions.end(), positions.begin(), positions.end());
  }
  rows.all_queries.resize(rows.all_positions.size() * width);
  const std::vector<std::span<const std::byte>> send(rows.row_counts.size(), std::as_bytes(std::span(rows.query)));
  std::vector<std::span<std::byte>> receive;
  float* to = rows.all_queries.data();
  for (const std::size_t count : rows.row_counts) {
    receive.push_back(std::as_writable_bytes(std::span(to, count * width)));
    to += count * width;
  }
  exchange(group.transport, send, receive);
}

void attend_gathered(const GroupSetting& group, StepAttention::RowGroup& rows, const Layout& layout,
                     std::uint32_t layer, kernels::Stream& stream) {
  const std::size_t count = rows.all_positions.size();
  rows.own_nodes.clear();
  rows.page_mass.clear();
  for (std::size_t round = 0; round < layout.most_pieces(); ++round) {
    const LoadedPiece own(group, rows, layout, layer, round);
    if (!own.piece()) continue;
    // A node of keys that cannot be read is still sent: its size is agreed, and the rows are failed anyway.
    const kernels::Partial part = rows.own_nodes.add(own.piece()->node, count);
    if (!own.is_readable()) continue;
    float* page_lse = nullptr;
    if (rows.votes || rows.measures) {
      rows.page_mass.push_back({own.piece(), {}});
      rows.page_mass.back().page_lse.resize(count * group.model.query_heads * own.blocks().size() *
                                            kernels::kBlockPages);
      page_lse = rows.page_mass.back().page_lse.data();
    }
    attend_piece(group, layer, stream, *own.piece(), own.blocks(), count, rows.all_queries.data(),
                 rows.all_positions.data(), part, page_lse);
  }
  return_nodes(group, rows, layout);
}

void take_votes(const GroupSetting& group, StepAttention::RowGroup& rows, bool measures, kernels::Stream& stream) {
  std::vector<float> all(rows.all_positions.size() * group.model.query_heads);
  const std::vector<std::span<const std::byte>> send(rows.row_counts.size(), std::as_bytes(std::span(rows.lse)));
  std::vector<std::span<std::byte>> receive;
  float* to = all.data();
  for (const std::size_t count : rows.row_counts) {
    receive.push_back(std::as_writable_bytes(std::span(to, count * group.model.query_heads)));
    to += count * group.model.query_heads;
  }
  exchange(group.transport, send, receive);
  std::vector<AttendedPages> attended;  // of a group that has failed nothing counts
  if (!rows.has_failed()) {
    for (const auto& mass : rows.page_mass) attended.push_back({mass.piece->block_indices, mass.page_lse});
  }
  if (rows.votes) {
    for (const AttendedPages& pages : attended) rows.retrieval->vote(pages.blocks, pages.page_lse, all);
  }
  if (measures) rows.retrieval->measure(attended, all, rows.lse_of_all, stream);
}

}  // namespace rotulus::worker
