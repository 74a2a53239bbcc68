#include "worker/parallel/retrieval.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "protocol/limits.h"
#include "worker/parallel/exchange.h"

namespace rotulus::worker {
namespace {

using memory_store::ScoredPage;
using memory_store::Selection;
using protocol::AttentionSpec;
using protocol::kBlockTokens;
using protocol::kPagesPerBlock;
using protocol::kPageTokens;
using protocol::PositionPolicy;

constexpr float kNothing = -std::numeric_limits<float>::infinity();
// Rows scored together: their scores of a million tokens are 38 MB.
constexpr std::size_t kRowsPerPass = 16;
// So many pages are told as evidence. The best of them are pinned with their two neighbours, in three quarters of the
// budget at most.
constexpr std::size_t kEvidencePages = 32;

// The first candidate block is the one behind the sinks; the end is where the window begins, in whole blocks.
std::uint32_t end_of_candidates(const AttentionSpec& spec, std::uint64_t token_count) {
  if (spec.mode != protocol::AttentionMode::retrieval || !Retrieval::has_candidates(spec, token_count)) return 0;
  return static_cast<std::uint32_t>((token_count - spec.local_tokens) / kBlockTokens);
}

// The layer whose selection each layer uses: its own where it is to select, or is the first that could behind one that
// is to and slides.
std::vector<std::uint32_t> selection_sources(const AttentionSpec& spec, const GroupSetting& group) {
  std::vector<std::uint32_t> sources(group.model.layers, 0);
  bool is_due = true;
  std::uint32_t source = 0;
  for (std::uint32_t layer = 0; layer < sources.size(); ++layer) {
    const auto& listed = spec.select_layers;
    is_due |= listed.empty() ? layer % spec.layer_stride == 0
                             : std::find(listed.begin(), listed.end(), layer) != listed.end();
    if (is_due && group.model.attention_of(layer).window == 0) {
      source = layer;
      is_due = false;
    }
    sources[layer] = source;
  }
  return sources;
}

// Where a far block is shown, by the position of its first token. `nearest`: the last 128 positions before the window;
// `reach`: the first position that the rows may see; `compacted`: where it stands if all that is read stands together.
std::int64_t shown_at(PositionPolicy policy, std::int64_t stands_at, std::int64_t nearest, std::int64_t reach,
                      std::int64_t compacted) {
  switch (policy) {
    case PositionPolicy::block_constant:
      break;
    case PositionPolicy::true_near:
      return stands_at >= reach ? stands_at : nearest;
    case PositionPolicy::compacted:
      return std::max(compacted, reach);
    case PositionPolicy::clamped:
      return std::max(stands_at, reach);
  }
  return nearest;
}

// The pages that any KV head reads of a selected block.
std::uint8_t pages_read(const Selection& selection, std::size_t index, std::uint32_t kv_heads) {
  std::uint8_t pages = 0;
  for (std::uint32_t head = 0; head < kv_heads; ++head) pages |= selection.masks[index * kv_heads + head];
  return pages;
}

}  // namespace

Retrieval::Retrieval(const GroupSetting& group, const AttentionSpec& spec, const std::vector<ChunkLocation>& chunks,
                     std::uint64_t token_count, protocol::LandmarkKinds kept, std::uint32_t window)
    : group_(group),
      spec_(spec),
      token_count_(token_count),
      kept_(kept),
      window_(window),
      pages_(group, chunks, 1, end_of_candidates(spec, token_count)),
      sources_(selection_sources(spec, group)),
      selections_(group.model.layers, std::make_shared<Selection>()),
      candidates_(group.model.layers),
      missed_mass_(group, pages_),
      votes_(protocol::ceil_div(token_count, kPageTokens), kNothing) {}

bool Retrieval::has_candidates(const AttentionSpec& spec, std::uint64_t token_count) {
  return token_count >= spec.local_tokens + 2 * kBlockTokens;
}

bool Retrieval::selects_in(std::uint32_t layer) const {
  return leaves_out() && spec_.budget_tokens > 0 && takes_up_in(layer);
}

std::size_t Retrieval::list_count() const {
  return spec_.vote_over == protocol::VoteScope::layer ? 1 : group_.format.kv_heads;
}

// ---------------------------------------------------------------------------------------------------------------
// Selecting

std::optional<AttentionFailure> Retrieval::select(std::uint32_t layer, const SelectingRows& rows,
                                                  kernels::Stream& stream) {
  std::optional<AttentionFailure> failure;
  const SharedSelection among = rows.scan ? narrow(layer, rows, failure, stream) : candidates_[layer];
  std::vector<Batch> batches = vote_for_pages(layer, spec_.landmark, rows, among.get(), failure, stream);
  std::vector<List> best = best_of_all(batches, rows.scan && keeps_candidates() ? most_candidates() : budget_pages());
  if (rows.scan) candidates_[layer] = keeps_candidates() ? set_of(best) : among;
  if (spec_.top_p < 1) cut_to_share(best, batches, stream);
  const auto selection = std::make_shared<Selection>(choose(best, pins_, budget_pages()));
  if (rows.measure) {
    if (among) batches = vote_for_all(layer, rows, best, failure, stream);
    missed_mass_.estimate(batches, *selection, stream);
  }
  selections_[layer] = selection;
  return failure;
}

// Not where every selection scans, nor where the candidates would be all that a scan leaves.
bool Retrieval::keeps_candidates() const {
  return spec_.rescan_every > spec_.reselect_every && most_candidates() < pages_.page_count();
}

// Collective. The pages of which the means promise most to the rows; nullptr: all.
Retrieval::SharedSelection Retrieval::narrow(std::uint32_t layer, const SelectingRows& rows,
                                             std::optional<AttentionFailure>& failure, kernels::Stream& stream) const {
  const double share = std::ceil(double{spec_.scan_share} * static_cast<double>(pages_.page_count()));
  const std::size_t count = std::max(static_cast<std::size_t>(share), budget_pages());
  const bool has_means = (kept_ & protocol::kKeepsMeans) != 0 && spec_.landmark != protocol::PageLandmark::mean;
  if (count >= pages_.page_count() || !has_means) return nullptr;
  const auto batches = vote_for_pages(layer, protocol::PageLandmark::mean, rows, nullptr, failure, stream);
  return set_of(best_of_all(batches, count));
}

// Collective. The batches of `among`, of all pages where that is nullptr, with the votes of the rows by a landmark.
std::vector<Retrieval::Batch> Retrieval::vote_for_pages(std::uint32_t layer, protocol::PageLandmark landmark,
                                                        const SelectingRows& rows, const Selection* among,
                                                        std::optional<AttentionFailure>& failure,
                                                        kernels::Stream& stream) const {
  std::vector<Batch> batches = pages_.make_batches(list_count(), among);
  std::vector<memory_store::PinnedBlocks> held;
  if (auto unfetched = pages_.fetch(layer, landmark, batches, held)) failure = std::move(unfetched);
  const std::uint32_t heads = group_.model.query_heads;
  std::size_t count = 0;
  for (std::size_t row = 0; row < rows.count; row += count) {
    count = std::min(kRowsPerPass, rows.count - row);
    for (Batch& batch : batches) {
      if (failure) break;
      const float* first = rows.queries + row * heads * group_.format.head_dim;
      failure = pages_.score(layer, landmark, count, first, batch, stream);
    }
    if (failure) batches.clear();  // the others go on without our pages: the request has failed
    raise_votes(batches, pages_.sum_over_ranks(batches, count * heads, stream), stream);
  }
  return batches;
}

// Collective. All pages as the last row sees them; under an audit as all rows do, and then it is counted how many of
// those that they would have chosen are in `best`.
std::vector<Retrieval::Batch> Retrieval::vote_for_all(std::uint32_t layer, const SelectingRows& rows,
                                                      const std::vector<List>& best,
                                                      std::optional<AttentionFailure>& failure,
                                                      kernels::Stream& stream) {
  SelectingRows seeing = rows;
  if (!spec_.audits) {
    seeing.queries += (rows.count - 1) * group_.model.query_heads * group_.format.head_dim;
    seeing.count = 1;
  }
  std::vector<Batch> batches = vote_for_pages(layer, spec_.landmark, seeing, nullptr, failure, stream);
  if (!spec_.audits) return batches;
  std::vector<List> best_of_these = best_of_all(batches, budget_pages());
  if (spec_.top_p < 1) cut_to_share(best_of_these, batches, stream);
  const Selection wanted = choose(best_of_these, {}, budget_pages());
  missed_mass_.count_recall(wanted.count_common(choose(best, {}, budget_pages())), wanted.count_common(wanted));
  return batches;
}

// For each KV head the pins, then the best of its list.
Selection Retrieval::choose(std::vector<List> best, std::span<const std::uint32_t> pins, std::size_t count) const {
  while (best.size() < group_.format.kv_heads) best.push_back(List(best.front()));  // one list for all of them
  return memory_store::select_pages(best, pins, count);
}

// The lists as sets of pages.
Retrieval::SharedSelection Retrieval::set_of(const std::vector<List>& lists) const {
  return std::make_shared<Selection>(choose(lists, {}, pages_.page_count()));
}

// Every candidate stands where everything() shows it.
std::optional<AttentionFailure> Retrieval::bound(std::uint32_t layer, const float* query, std::int64_t position,
                                                 std::int64_t tile_end, kernels::Stream& stream) {
  if ((kept_ & protocol::kKeepsBounds) == 0) return std::nullopt;
  std::vector<std::int64_t> distances;
  for (const VisibleBlock& block : everything(*selections_[layer], tile_end)) {
    if (!pages_.contains(block.index)) continue;
    distances.push_back(position - block.shift - std::int64_t{block.index} * kBlockTokens);
  }
  return missed_mass_.bound(layer, query, distances, *selections_[layer], stream);
}

void Retrieval::raise_votes(std::vector<Batch>& batches, const std::vector<float>& lse, kernels::Stream& stream) const {
  for (Batch& batch : batches) {
    kernels::VoteTask task;
    task.rule = spec_.vote == protocol::PageVote::sum ? kernels::VoteRule::sum : kernels::VoteRule::maximum;
    task.kv_heads = static_cast<std::uint32_t>(list_count());
    task.query_heads = group_.model.query_heads;
    task.rows = batch.rows;
    task.pages = batch.page_count();
    task.scores = batch.scores.data();
    task.lse = lse.data();
    task.votes = batch.votes.data();
    group_.backend.vote(stream, task);
  }
  stream.wait();
}

// Collective. The best `count` pages of each list, in whole blocks where these are the unit.
std::vector<Retrieval::List> Retrieval::best_of_all(const std::vector<Batch>& batches, std::size_t count) const {
  const bool by_block = spec_.unit == protocol::SelectionUnit::block;
  if (by_block) count = protocol::ceil_div(count, kPagesPerBlock);
  std::vector<List> best;
  for (std::size_t list = 0; list < list_count(); ++list) {
    List pages = merge_lists(proposals(batches, list), count);
    if (by_block) {
      List blocks;
      blocks.swap(pages);
      for (const ScoredPage& block : blocks) {
        for (std::uint32_t page = 0; page < kPagesPerBlock; ++page) pages.push_back({block.score, block.page + page});
      }
    }
    best.push_back(std::move(pages));
  }
  return best;
}

// What this rank proposes for a list: its pages, or the first page of each of its blocks with the best one's vote.
Retrieval::List Retrieval::proposals(const std::vector<Batch>& batches, std::size_t list) const {
  const bool by_block = spec_.unit == protocol::SelectionUnit::block;
  List own;
  for (const Batch& batch : batches) {
    const float* votes = batch.votes.data() + list * batch.page_count();
    for (std::size_t i = 0; i < batch.blocks.size(); ++i) {
      for (std::uint32_t page = 0; page < kPagesPerBlock; ++page, ++votes) {
        if (!batch.takes_part(i, page, group_.format.kv_heads, list)) continue;
        const ScoredPage scored{*votes, batch.blocks[i] * kPagesPerBlock + page};
        if (!by_block || page == 0) {
          own.push_back(scored);
        } else if (memory_store::is_better(scored, own.back())) {
          own.back().score = scored.score;
        }
      }
    }
  }
  return own;
}

// Collective. Keeps of each list the fewest pages whose votes add up to top_p of all votes for it, within the budget.
void Retrieval::cut_to_share(std::vector<List>& best, std::vector<Batch>& batches, kernels::Stream& stream) const {
  const auto totals = pages_.sum_pages(batches, list_count(), stream, [](const Batch& batch) { return batch.votes; });
  for (std::size_t list = 0; list < best.size(); ++list) {
    std::vector<float> logs;
    best[list].resize(std::min(best[list].size(), budget_pages()));
    for (const ScoredPage& page : best[list]) logs.push_back(page.score);
    std::size_t count = 0;
    group_.backend.count_share(stream, logs, totals[list], spec_.top_p, count);
    stream.wait();
    best[list].resize(count);
  }
}

// Collective. The best `count` pages of what all ranks have.
Retrieval::List Retrieval::merge_lists(List own, std::size_t count) const {
  memory_store::keep_best(own, count);
  List all;
  for (const auto& from : exchange_values(group_.transport, own)) all.insert(all.end(), from.begin(), from.end());
  memory_store::keep_best(all, count);
  return all;
}

// ---------------------------------------------------------------------------------------------------------------
// Showing

std::vector<VisibleBlock> Retrieval::visible_blocks(const Selection& selection, std::int64_t tile_end) const {
  return show(selection, tile_end, false);
}

std::vector<VisibleBlock> Retrieval::everything(const Selection& selection, std::int64_t tile_end) const {
  return show(selection, tile_end, true);
}

// From the last block to the first, so that those read can be counted from the window on.
std::vector<VisibleBlock> Retrieval::show(const Selection& selection, std::int64_t tile_end, bool shows_all) const {
  std::vector<VisibleBlock> blocks = all_blocks(token_count_);
  if (!leaves_out()) return blocks;
  const bool is_true_position = tile_end <= std::int64_t{window_};
  const std::int64_t nearest = (std::int64_t{pages_.end_block()} - 1) * kBlockTokens;
  std::vector<VisibleBlock> kept;
  std::size_t left = selection.blocks.size();
  std::int64_t taken_from = nearest + kBlockTokens;  // by what is read, when it stands together
  for (auto block = blocks.rbegin(); block != blocks.rend(); ++block) {
    const bool is_candidate = pages_.contains(block->index);
    const bool is_selected = is_candidate && left > 0 && selection.blocks[left - 1] == block->index;
    if (is_selected) --left;
    if (is_candidate && !is_selected && !shows_all) continue;
    if (is_selected && !shows_all) block->head_masks = selection.masks.data() + left * group_.format.kv_heads;
    if (block->index < pages_.end_block() && !is_true_position) {
      const std::int64_t stands_at = std::int64_t{block->index} * kBlockTokens;
      const bool is_read = is_selected || !is_candidate;
      const PositionPolicy policy = is_read ? spec_.positions : PositionPolicy::block_constant;
      // Its last page that is read ends where the next block's begins, so that a page stands behind an earlier one.
      const std::uint8_t pages = is_selected ? pages_read(selection, left, group_.format.kv_heads) : 0xff;
      const std::int64_t compacted = taken_from - std::bit_width(pages) * std::int64_t{kPageTokens};
      block->shift = shown_at(policy, stands_at, nearest, tile_end - window_, compacted) - stands_at;
      if (is_read) taken_from -= std::popcount(pages) * std::int64_t{kPageTokens};
    }
    kept.push_back(*block);
  }
  std::reverse(kept.begin(), kept.end());
  return kept;
}

std::uint64_t Retrieval::attended_tokens() const {
  if (!leaves_out()) return token_count_;
  std::size_t pages = 0;
  for (const auto& selection : selections_) pages = std::max(pages, selection->largest(group_.format.kv_heads));
  const std::uint64_t fixed = kBlockTokens + token_count_ - std::uint64_t{pages_.end_block()} * kBlockTokens;
  return fixed + pages * kPageTokens;
}

std::uint64_t Retrieval::blocks_read() const {
  const std::uint64_t all = protocol::ceil_div(token_count_, kBlockTokens);
  std::uint64_t read = 0;
  for (std::uint32_t layer = 0; layer < sources_.size(); ++layer) {
    if (group_.model.attention_of(layer).window > 0) continue;
    const std::uint64_t fixed = 1 + all - pages_.end_block();
    read += leaves_out() ? fixed + selections_[sources_[layer]]->blocks.size() : all;
  }
  return read;
}

void Retrieval::measure(std::span<const AttendedPages> pieces, std::span<const float> lse,
                        std::span<const float> lse_of_all, kernels::Stream& stream) {
  missed_mass_.measure(pieces, lse, lse_of_all, stream);
}

// ---------------------------------------------------------------------------------------------------------------
// Votes

void Retrieval::vote(std::span<const std::uint32_t> block_indices, std::span<const float> page_lse,
                     std::span<const float> lse) {
  const float* share = page_lse.data();
  for (const float total : lse) {
    for (const std::uint32_t block : block_indices) {
      for (std::uint32_t page = block * kPagesPerBlock; page < (block + 1) * kPagesPerBlock; ++page, ++share) {
        if (page < votes_.size() && *share - total > votes_[page]) votes_[page] = *share - total;
      }
    }
  }
}

void Retrieval::count_votes() {
  // Sinks and the window are always seen: what they get says nothing. Under exact attention that is the first and the
  // last page.
  const auto pages = static_cast<std::uint32_t>(votes_.size());
  const std::uint32_t first = leaves_out() ? pages_.first_block() * kPagesPerBlock : std::min(1u, pages);
  const std::uint32_t end =
      leaves_out() ? pages_.end_block() * kPagesPerBlock : std::max(first, pages > 0 ? pages - 1 : 0);
  List own;
  for (std::uint32_t page = first; page < end; ++page) {
    if (votes_[page] != kNothing) own.push_back({votes_[page], page});
  }
  const List best = merge_lists(std::move(own), kEvidencePages);
  if (leaves_out() && spec_.second_pass) {
    pins_ = memory_store::with_neighbours(best, spec_.budget_tokens / kPageTokens / 4, first, end);
  }
  evidence_.clear();
  for (const ScoredPage& page : best) {
    const std::uint64_t begin = std::uint64_t{page.page} * kPageTokens;
    const protocol::TokenRange range{begin, std::min<std::uint64_t>(begin + kPageTokens, token_count_)};
    const auto touches = [&](const protocol::Evidence& e) {
      return e.range.begin <= range.end && range.begin <= e.range.end;
    };
    const auto known = std::find_if(evidence_.begin(), evidence_.end(), touches);
    if (known == evidence_.end()) {
      evidence_.push_back({range, std::exp(page.score)});
    } else {
      known->range = {std::min(known->range.begin, range.begin), std::max(known->range.end, range.end)};
    }
  }
  std::fill(votes_.begin(), votes_.end(), kNothing);
}

}  // namespace rotulus::worker
