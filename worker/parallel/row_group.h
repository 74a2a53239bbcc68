// Rows of a step that attend the same keys of the same context, whoever asks: they share one pass over its blocks.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "worker/parallel/step_attention.h"

namespace rotulus::worker {

// Node partials of some rows as they come in, from whichever rank computed them.
class NodePartials final {
 public:
  NodePartials(std::size_t heads, std::size_t head_dim) : heads_(heads), head_dim_(head_dim) {}
  void clear() { used_ = 0; }
  // Memory for one more node over `rows` rows.
  kernels::Partial add(const kernels::LaneSpan& node, std::size_t rows);
  std::vector<kernels::LaneSpan> nodes() const;
  std::vector<kernels::ConstPartial> parts() const;

 private:
  struct Entry {
    kernels::LaneSpan node;
    std::vector<float> out;
    std::vector<float> lse;
  };
  std::size_t heads_;
  std::size_t head_dim_;
  std::size_t used_ = 0;
  std::vector<std::unique_ptr<Entry>> entries_;  // kept between layers, so that nothing is allocated in them
};

struct StepAttention::RowGroup {
  // Rows of one item on one rank, all of which belong to the group.
  struct Segment {
    std::size_t item = 0;
    ItemRun run;
  };
  // Rows that see `visible` of the first `visible_end` tokens. Under retrieval, what they see is chosen in each layer.
  // In a layer that slides they see their window as it stands, whatever the others do.
  RowGroup(const GroupSetting& group, std::vector<AttentionItem>& all_items, const std::vector<Segment>& segments,
           std::span<const VisibleBlock> visible, std::uint64_t visible_end);

  // The keys that the rows meet in layers of one kind.
  struct Keys {
    std::unique_ptr<Layout> layout;  // nullptr: a tail only, or nothing chosen yet
    bool by_ring = false;
  };

  struct LocalRun {
    std::size_t item = 0;
    std::size_t group_row = 0;
    std::size_t local_row = 0;
    std::size_t count = 0;
  };

  bool has_failed() const;
  void fail(const AttentionFailure& failure);  // all items of the group, on this rank

  std::vector<AttentionItem>& all_items;
  std::vector<std::size_t> items;
  Keys full;
  Keys sliding;  // in layers that slide

  Retrieval* retrieval = nullptr;
  Retrieval::SharedSelection selection;  // taken up in this layer or the last that has one
  bool selects = false;                  // chooses pages for its own rows; otherwise those chosen last are used
  bool scans = false;                    // … of all pages, not of those that were best when all were looked at
  bool votes = false;                    // its rows' votes count
  bool measures = false;                 // what is left out of its last row is measured
  std::int64_t tile_end = 0;             // of its rows
  std::vector<float> lse_of_all;         // measured by an audit: as lse, if nothing were left out

  const RowGroup* next = nullptr;   // that is attended after this one; the first after the last
  bool is_last = false;             // of a layer
  std::uint64_t first_new_key = 0;  // keys of the context from here on are the rows' own

  std::vector<LocalRun> local_runs;
  std::vector<std::size_t> row_counts;               // [rank]
  std::vector<std::vector<std::int64_t>> positions;  // [rank][row]

  std::vector<float> query;  // [local rows, query_heads, head_dim]
  std::vector<float> out;    // likewise, merged
  std::vector<float> lse;
  std::vector<float> tail_out;
  std::vector<float> tail_lse;
  NodePartials partials;   // of the local rows
  NodePartials own_nodes;  // gathered: of all ranks' rows, over this rank's lanes

  // Gathered: the rows of rank 0, of rank 1, …
  std::vector<float> all_queries;
  std::vector<std::int64_t> all_positions;
  struct PageMass {
    const Piece* piece = nullptr;
    std::vector<float> page_lse;  // [all rows, query_heads, blocks, 8]
  };
  std::vector<PageMass> page_mass;  // where the rows vote or measure
};

// One piece of this rank's keys for one layer, in memory while it lives. Fetches what lies on another rank's volume
// first: all ranks call it for the same round, whether they have a piece in it or not.
class LoadedPiece final {
 public:
  LoadedPiece(const GroupSetting& group, StepAttention::RowGroup& rows, const Layout& layout, std::uint32_t layer,
              std::size_t round);
  const Piece* piece() const { return piece_; }      // nullptr: no piece in this round
  bool is_readable() const { return is_readable_; }  // false: the group has failed on this rank
  const std::vector<kernels::KvBlock>& blocks() const { return blocks_; }
  void pack(std::byte* into) const;  // block after block; zeros where it is not readable

 private:
  const Piece* piece_ = nullptr;
  bool is_readable_ = false;
  std::size_t block_bytes_;
  memory_store::PinnedBlocks pinned_;
  std::vector<kernels::KvBlock> blocks_;
};

void attend_by_ring(const GroupSetting& group, StepAttention::RowGroup& rows, const Layout& layout, std::uint32_t layer,
                    kernels::Stream& stream);
// The rows of a step, in groups that every rank makes alike.
std::vector<std::unique_ptr<StepAttention::RowGroup>> deal_rows(const GroupSetting& group,
                                                                std::vector<AttentionItem>& items, Strategy strategy);

// The queries of all ranks' rows, on every rank: before anything is selected for them or attended.
void gather_queries(const GroupSetting& group, StepAttention::RowGroup& rows);
void attend_gathered(const GroupSetting& group, StepAttention::RowGroup& rows, const Layout& layout,
                     std::uint32_t layer, kernels::Stream& stream);
// Every rank learns the merged lse of all rows, raises the votes of the pages it has attended where the rows vote, and
// measures what was left out where `measures`.
void take_votes(const GroupSetting& group, StepAttention::RowGroup& rows, bool measures, kernels::Stream& stream);

// Attention of `row_count` rows over one piece into one node. page_lse: kernels::AttendTask.
void attend_piece(const GroupSetting& group, std::uint32_t layer, kernels::Stream& stream, const Piece& piece,
                  std::span<const kernels::KvBlock> blocks, std::size_t row_count, const float* query,
                  const std::int64_t* positions, kernels::Partial into, float* page_lse = nullptr);

}  // namespace rotulus::worker
