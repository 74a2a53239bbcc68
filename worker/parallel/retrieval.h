// What one running request reads of its context: the blocks that every row sees, the pages chosen for a tile of rows
// in each layer, and the votes from which pages are pinned and evidence is told.
//
//   sinks     the first block
//   window    the last `local_tokens` of the document: from block floor((token_count - local_tokens) / 128) on
//   selected  the best pages of the blocks between them, for each layer and KV head: pins first, then by votes made
//             from landmarks, until the budget is full
//
// What is best, for whom, how often and in which layers is chosen stage by stage (protocol/attention.h). A stage may
// be left only a set of pages by the one before it: those that the means promise most of, or, in an answer, those that
// were best when all pages were looked at last.
//
// Rows inside the model's window see every block where it truly stands. Rows beyond it see the window there, and sinks
// and selected blocks moved towards it: no distance exceeds what the model was trained on. The window is the
// document's, not the row's, so it does not move while the tail grows.
//
// Invariants:
//   1. Every rank makes the same selection: sums meet in the lanes' tree, best lists and votes by maximum, ties by
//   page.
//   2. A selection depends on the rows of its tile, the landmarks and the pins only; one that does not scan also on the
//   rows that scanned last, which stand at positions known beforehand.
//
// Threads: one. The calls marked collective are made by all ranks together, also where this rank has failed.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "memory_store/selection.h"
#include "protocol/messages.h"
#include "worker/parallel/candidate_pages.h"
#include "worker/parallel/group_setting.h"
#include "worker/parallel/layout.h"
#include "worker/parallel/missed_mass.h"

namespace rotulus::worker {

// Rows for which pages are chosen together.
struct SelectingRows {
  std::size_t count = 0;
  const float* queries = nullptr;  // [count, query_heads, head_dim], not rotated
  bool scan = true;                // look at all pages
  bool measure = false;            // what is left out of the last row is to be estimated
};

class Retrieval final {
 public:
  // `spec.mode` is exact or retrieval. Under exact attention every block is visible, and only votes are taken.
  // `chunks`, of a complete context of `token_count` tokens, and `group` are borrowed. `kept`: of the context, among
  // them what `spec` scores pages by. `window`: of the model.
  Retrieval(const GroupSetting& group, const protocol::AttentionSpec& spec, const std::vector<ChunkLocation>& chunks,
            std::uint64_t token_count, protocol::LandmarkKinds kept, std::uint32_t window);

  // Whether anything lies between sinks and window of such a context.
  static bool has_candidates(const protocol::AttentionSpec& spec, std::uint64_t token_count);
  // A row of an answer makes a selection where its position is a multiple; the rows behind it use it too.
  std::int64_t selection_interval() const { return spec_.reselect_every; }
  // … and scans where its position is a multiple of this.
  std::int64_t scan_interval() const { return spec_.rescan_every; }
  // Whether rows take up a selection in this layer; in the others they keep that of the last layer in which they did.
  bool takes_up_in(std::uint32_t layer) const { return sources_[layer] == layer; }
  // … and whether rows that may select do so there, so that it is their own.
  bool selects_in(std::uint32_t layer) const;

  // Collective.
  std::optional<AttentionFailure> select(std::uint32_t layer, const SelectingRows& rows, kernels::Stream& stream);
  // The last one that was made in a layer that makes some; empty at first.
  using SharedSelection = std::shared_ptr<const memory_store::Selection>;  // rows of one step may use several
  SharedSelection selection(std::uint32_t layer) const { return selections_[layer]; }
  // What rows whose tile ends at `tile_end` see by a selection. Valid as long as that is.
  std::vector<VisibleBlock> visible_blocks(const memory_store::Selection& selection, std::int64_t tile_end) const;
  // … and what they would see if nothing were left out: what is selected where visible_blocks() shows it.
  std::vector<VisibleBlock> everything(const memory_store::Selection& selection, std::int64_t tile_end) const;
  std::uint64_t attended_tokens() const;  // of the context: the most of any layer and KV head
  std::uint64_t blocks_read() const;      // over the layers that do not slide

  // Collective, behind a selection that measures, where the context keeps bounds: the most that what was left out can
  // weigh to the last row, at this position of a tile that ends at `tile_end`, with this (not rotated) query.
  std::optional<AttentionFailure> bound(std::uint32_t layer, const float* query, std::int64_t position,
                                        std::int64_t tile_end, kernels::Stream& stream);
  // Collective, behind a selection that measures and the attention over it: MissedMass::measure().
  void measure(std::span<const AttendedPages> pieces, std::span<const float> lse, std::span<const float> lse_of_all,
               kernels::Stream& stream);
  std::optional<protocol::MissedMass> missed_mass() const { return missed_mass_.result(); }  // on the home rank

  // -- votes ----------------------------------------------------------------------------------------------------

  // Raises the votes of the pages of `block_indices` to their share of some row's softmax, as a logarithm.
  // page_lse [rows, query_heads, blocks, 8], lse [rows, query_heads].
  void vote(std::span<const std::uint32_t> block_indices, std::span<const float> page_lse, std::span<const float> lse);
  // Collective. Ends the votes: tells the evidence, and pins its best pages with their neighbours.
  void count_votes();
  const std::vector<protocol::Evidence>& evidence() const { return evidence_; }
  std::size_t pinned_pages() const { return pins_.size(); }

 private:
  using Batch = CandidatePages::Batch;
  using List = std::vector<memory_store::ScoredPage>;  // best first

  bool leaves_out() const { return !pages_.is_empty(); }
  std::size_t list_count() const;  // of pages, in a layer
  std::size_t budget_pages() const { return spec_.budget_tokens / protocol::kPageTokens; }
  std::size_t most_candidates() const { return std::max<std::size_t>(spec_.candidate_pages, budget_pages()); }
  bool keeps_candidates() const;
  SharedSelection narrow(std::uint32_t layer, const SelectingRows& rows, std::optional<AttentionFailure>& failure,
                         kernels::Stream& stream) const;
  std::vector<Batch> vote_for_pages(std::uint32_t layer, protocol::PageLandmark landmark, const SelectingRows& rows,
                                    const memory_store::Selection* among, std::optional<AttentionFailure>& failure,
                                    kernels::Stream& stream) const;
  std::vector<Batch> vote_for_all(std::uint32_t layer, const SelectingRows& rows, const std::vector<List>& best,
                                  std::optional<AttentionFailure>& failure, kernels::Stream& stream);
  void raise_votes(std::vector<Batch>& batches, const std::vector<float>& lse, kernels::Stream& stream) const;
  std::vector<List> best_of_all(const std::vector<Batch>& batches, std::size_t count) const;
  List proposals(const std::vector<Batch>& batches, std::size_t list) const;
  void cut_to_share(std::vector<List>& best, std::vector<Batch>& batches, kernels::Stream& stream) const;
  memory_store::Selection choose(std::vector<List> best, std::span<const std::uint32_t> pins, std::size_t count) const;
  SharedSelection set_of(const std::vector<List>& lists) const;
  List merge_lists(List own, std::size_t count) const;
  std::vector<VisibleBlock> show(const memory_store::Selection& selection, std::int64_t tile_end, bool shows_all) const;

  const GroupSetting& group_;
  protocol::AttentionSpec spec_;
  std::uint64_t token_count_;
  protocol::LandmarkKinds kept_;
  std::uint32_t window_;
  CandidatePages pages_;                     // empty under exact attention
  std::vector<std::uint32_t> sources_;       // [layer], the layer whose selection it uses
  std::vector<SharedSelection> selections_;  // [layer], of the rows that selected last; never nullptr
  std::vector<SharedSelection> candidates_;  // [layer], of the rows that scanned last; nullptr: all pages
  MissedMass missed_mass_;
  std::vector<float> votes_;         // [page]; of this rank's lanes
  std::vector<std::uint32_t> pins_;  // ascending
  std::vector<protocol::Evidence> evidence_;
};

}  // namespace rotulus::worker
