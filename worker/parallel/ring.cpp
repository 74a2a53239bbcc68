// Pass-KV: each round, one piece of every rank's keys travels once round the ring; a rank attends what it holds while
// the next piece is under way.
#include <algorithm>
#include <array>

#include "protocol/limits.h"
#include "worker/parallel/exchange.h"
#include "worker/parallel/row_group.h"

namespace rotulus::worker {
namespace {

constexpr std::uint32_t kRingTag = kFirstFreeTag;

// The keys of some rank that this rank holds at the moment.
struct Held {
  const Piece* piece = nullptr;
  std::vector<kernels::KvBlock> blocks;
};

const Piece* piece_of(const Layout& layout, std::uint32_t rank, std::size_t round) {
  const auto& pieces = layout.pieces(rank);
  return round < pieces.size() ? &pieces[round] : nullptr;
}

std::vector<kernels::KvBlock> blocks_in(const Piece& piece, const std::byte* packed, std::size_t block_bytes) {
  std::vector<kernels::KvBlock> blocks = piece.blocks;
  for (std::size_t i = 0; i < blocks.size(); ++i) blocks[i].data = packed + i * block_bytes;
  return blocks;
}

// Two message buffers that change places at each hop.
class RingBuffers {
 public:
  RingBuffers(kernels::Backend& backend, const Layout& layout, std::uint32_t size, std::size_t block_bytes) {
    std::size_t bytes = 0;
    for (std::uint32_t rank = 0; rank < size; ++rank) {
      for (const Piece& piece : layout.pieces(rank)) bytes = std::max(bytes, piece.blocks.size() * block_bytes);
    }
    for (auto& buffer : buffers_)
      buffer = backend.allocate(std::max<std::size_t>(bytes, 64), kernels::MemoryKind::host);
  }
  std::byte* current() { return buffers_[turn_]->data(); }
  std::byte* next() { return buffers_[1 - turn_]->data(); }
  void turn() { turn_ = 1 - turn_; }

 private:
  std::array<std::unique_ptr<kernels::Buffer>, 2> buffers_;
  std::size_t turn_ = 0;
};

}  // namespace

void attend_by_ring(const GroupSetting& group, StepAttention::RowGroup& rows, const Layout& layout, std::uint32_t layer,
                    kernels::Stream& stream) {
  Transport& transport = group.transport;
  const std::uint32_t size = transport.size();
  const std::uint32_t me = transport.rank();
  const std::size_t block_bytes = group.format.block_bytes();
  std::unique_ptr<RingBuffers> buffers;
  if (size > 1) buffers = std::make_unique<RingBuffers>(group.backend, layout, size, block_bytes);

  for (std::size_t round = 0; round < layout.most_pieces(); ++round) {
    const LoadedPiece own(group, rows, layout, layer, round);
    if (size > 1 && own.piece()) own.pack(buffers->current());
    Held held{own.piece(), own.blocks()};
    for (std::uint32_t hop = 0; hop < size; ++hop) {
      std::vector<Transport::Ticket> tickets;
      const Piece* coming = nullptr;
      if (hop + 1 < size) {
        coming = piece_of(layout, (me + size - hop - 1) % size, round);
        if (coming) {
          tickets.push_back(transport.post_receive((me + size - 1) % size, kRingTag,
                                                   {buffers->next(), coming->blocks.size() * block_bytes}));
        }
        if (held.piece) {
          tickets.push_back(transport.post_send((me + 1) % size, kRingTag,
                                                {buffers->current(), held.piece->blocks.size() * block_bytes}));
        }
      }
      if (held.piece && !rows.has_failed()) {
        attend_piece(group, layer, stream, *held.piece, held.blocks, rows.row_counts[me], rows.query.data(),
                     rows.positions[me].data(), rows.partials.add(held.piece->node, rows.row_counts[me]));
      }
      transport.wait(tickets, protocol::kExchangeTimeout);
      if (hop + 1 < size) {
        buffers->turn();
        held = {coming, coming ? blocks_in(*coming, buffers->current(), block_bytes) : std::vector<kernels::KvBlock>{}};
      }
    }
  }
}

}  // namespace rotulus::worker
