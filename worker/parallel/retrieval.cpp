#include "worker/parallel/retrieval.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>

#include "protocol/lanes.h"
#include "protocol/limits.h"
#include "worker/parallel/exchange.h"
#include "worker/parallel/foreign_blocks.h"

namespace rotulus::worker {
namespace {

using memory_store::BlockAddress;
using memory_store::ScoredPage;
using protocol::kBlocksPerStripe;
using protocol::kBlockTokens;
using protocol::kPagesPerBlock;
using protocol::kPageTokens;
static_assert(std::is_trivially_copyable_v<ScoredPage>);  // travels between ranks of one build as it is

constexpr float kNothing = -std::numeric_limits<float>::infinity();
// Rows scored together: their scores of a million tokens are 38 MB.
constexpr std::size_t kRowsPerPass = 16;
// Landmarks held in memory at once, about 20 MB of a small model's.
constexpr std::size_t kBlocksPerBatch = 2048;
// So many pages are told as evidence. The best of them are pinned with their two neighbours, in three quarters of the
// budget at most.
constexpr std::size_t kEvidencePages = 32;

template <typename T>
std::vector<std::byte> to_bytes(const std::vector<T>& values) {
  const auto bytes = std::as_bytes(std::span(values));
  return {bytes.begin(), bytes.end()};
}

template <typename T>
void append_values(std::span<const std::byte> bytes, std::vector<T>& values) {
  const std::size_t before = values.size();
  values.resize(before + bytes.size() / sizeof(T));
  if (!bytes.empty()) std::memcpy(values.data() + before, bytes.data(), bytes.size());
}

}  // namespace

// Whole lanes of this rank whose landmarks are in memory together.
struct Retrieval::Batch {
  std::vector<std::uint32_t> blocks;
  std::vector<kernels::PageRun> runs;  // one a lane
  std::vector<kernels::LaneSpan> nodes;
  std::vector<float> scores;  // [query_heads, rows, pages]
  std::vector<float> sums;    // [runs, query_heads, rows]
  std::vector<float> votes;   // [kv_heads, pages]
};

Retrieval::Retrieval(const GroupSetting& group, const protocol::AttentionSpec& spec,
                     const std::vector<ChunkLocation>& chunks, std::uint64_t token_count, std::uint32_t window)
    : group_(group),
      spec_(spec),
      chunks_(chunks),
      token_count_(token_count),
      window_(window),
      selections_(group.model.layers) {
  votes_.assign(protocol::ceil_div(token_count, kPageTokens), kNothing);
  if (spec.mode != protocol::AttentionMode::retrieval || !has_candidates(spec, token_count)) return;
  first_candidate_ = 1;
  end_candidate_ = static_cast<std::uint32_t>((token_count - spec.local_tokens) / kBlockTokens);
  const protocol::LaneRange own = protocol::lanes_of_rank(group.transport.rank(), group.transport.size());
  std::vector<OwnLane> lanes(own.end - own.begin);
  for (std::uint32_t block = first_candidate_; block < end_candidate_; ++block) {
    const std::uint32_t lane = protocol::lane_of_block(block);
    if (own.contains(lane)) lanes[lane - own.begin].blocks.push_back(block);
  }
  for (std::uint32_t lane = own.begin; lane < own.end; ++lane) {
    OwnLane& blocks = lanes[lane - own.begin];
    blocks.lane = lane;
    if (!blocks.blocks.empty()) lanes_.push_back(std::move(blocks));
  }
  has_foreign_landmarks_ = has_foreign_landmarks();
}

bool Retrieval::has_candidates(const protocol::AttentionSpec& spec, std::uint64_t token_count) {
  return token_count >= spec.local_tokens + 2 * kBlockTokens;
}

// Whether some rank owns candidates that lie on a volume of another: known to all, so that all fetch together.
bool Retrieval::has_foreign_landmarks() const {
  for (std::uint32_t block = first_candidate_; block < end_candidate_; block += kBlocksPerStripe) {
    const auto holder = group_.holders.find(landmark_address(chunks_, 0, block).volume);
    const std::uint32_t owner = protocol::rank_of_lane(protocol::lane_of_block(block), group_.transport.size());
    if (holder != group_.holders.end() && holder->second != owner) return true;
  }
  return false;
}

// ---------------------------------------------------------------------------------------------------------------
// Selecting

std::optional<AttentionFailure> Retrieval::select(std::uint32_t layer, std::size_t rows, const float* queries,
                                                  kernels::Stream& stream) {
  std::optional<AttentionFailure> failure;
  if (has_foreign_landmarks_) failure = fetch_landmarks(layer);
  std::vector<Batch> batches = make_batches();
  const std::uint32_t heads = group_.model.query_heads;
  for (std::size_t row = 0; row < rows; row += kRowsPerPass) {
    const std::size_t count = std::min(kRowsPerPass, rows - row);
    for (Batch& batch : batches) {
      if (failure) break;
      failure = score(layer, count, queries + row * heads * group_.format.head_dim, batch, stream);
    }
    if (failure) batches.clear();  // the others go on without our pages: the request has failed
    const std::vector<float> lse = sum_over_ranks(batches, count * heads, stream);
    for (Batch& batch : batches) {
      kernels::VoteTask task;
      task.kv_heads = group_.format.kv_heads;
      task.query_heads = heads;
      task.rows = count;
      task.pages = batch.blocks.size() * kPagesPerBlock;
      task.scores = batch.scores.data();
      task.lse = lse.data();
      task.votes = batch.votes.data();
      group_.backend.vote(stream, task);
    }
    stream.wait();
  }
  selections_[layer] = memory_store::select_pages(best_of_all(batches), pins_, spec_.budget_tokens / kPageTokens);
  return failure;
}

std::vector<Retrieval::Batch> Retrieval::make_batches() const {
  std::vector<Batch> batches;
  for (const OwnLane& lane : lanes_) {
    if (batches.empty() || batches.back().blocks.size() + lane.blocks.size() > kBlocksPerBatch) batches.emplace_back();
    Batch& batch = batches.back();
    batch.runs.push_back(
        {static_cast<std::uint32_t>(batch.blocks.size()), static_cast<std::uint32_t>(lane.blocks.size())});
    batch.nodes.push_back({lane.lane, 1});
    batch.blocks.insert(batch.blocks.end(), lane.blocks.begin(), lane.blocks.end());
  }
  for (Batch& batch : batches) {
    batch.votes.assign(group_.format.kv_heads * batch.blocks.size() * kPagesPerBlock, kNothing);
  }
  return batches;
}

std::optional<AttentionFailure> Retrieval::fetch_landmarks(std::uint32_t layer) {
  std::vector<BlockAddress> stripes;
  for (const OwnLane& lane : lanes_) {
    for (const std::uint32_t block : lane.blocks) {
      const BlockAddress address = landmark_address(chunks_, layer, block);
      if (stripes.empty() || stripes.back() != address) stripes.push_back(address);
    }
  }
  return fetch_foreign_blocks(group_, stripes);
}

std::optional<AttentionFailure> Retrieval::score(std::uint32_t layer, std::size_t rows, const float* queries,
                                                 Batch& batch, kernels::Stream& stream) {
  std::vector<BlockAddress> stripes;
  std::vector<std::size_t> stripe_of;  // [block]
  for (const std::uint32_t block : batch.blocks) {
    const BlockAddress address = landmark_address(chunks_, layer, block);
    if (stripes.empty() || stripes.back() != address) stripes.push_back(address);
    stripe_of.push_back(stripes.size() - 1);
  }
  memory_store::PinnedBlocks pinned;
  if (auto failure = pin_blocks(group_, stripes, pinned)) return failure;
  std::vector<const std::byte*> landmarks;
  for (std::size_t i = 0; i < batch.blocks.size(); ++i) {
    landmarks.push_back(pinned[stripe_of[i]] +
                        batch.blocks[i] % kBlocksPerStripe * kernels::landmark_block_bytes(group_.format));
  }
  batch.scores.resize(group_.model.query_heads * rows * batch.blocks.size() * kPagesPerBlock);
  batch.sums.resize(batch.runs.size() * group_.model.query_heads * rows);
  kernels::ScoreTask task;
  task.kv_heads = group_.format.kv_heads;
  task.query_heads = group_.model.query_heads;
  task.head_dim = group_.format.head_dim;
  task.scale = group_.model.softmax_scale;
  task.rows = rows;
  task.queries = queries;
  task.landmarks = landmarks;
  task.runs = batch.runs;
  task.scores = batch.scores.data();
  task.lse = batch.sums.data();
  group_.backend.score(stream, task);
  stream.wait();
  return std::nullopt;
}

// Each rank sums its lanes to the nodes that cover them; the nodes of all ranks meet at the root.
std::vector<float> Retrieval::sum_over_ranks(const std::vector<Batch>& batches, std::size_t count,
                                             kernels::Stream& stream) {
  Transport& transport = group_.transport;
  std::vector<float> own;
  for (const auto& node : protocol::cover(protocol::lanes_of_rank(transport.rank(), transport.size()))) {
    std::vector<kernels::LaneSpan> lanes;
    std::vector<const float*> parts;
    for (const Batch& batch : batches) {
      for (std::size_t run = 0; run < batch.runs.size(); ++run) {
        if (batch.nodes[run].first < node.first || batch.nodes[run].first >= node.first + node.size) continue;
        lanes.push_back(batch.nodes[run]);
        parts.push_back(batch.sums.data() + run * count);
      }
    }
    own.resize(own.size() + count);
    group_.backend.merge_sums(stream, count, lanes, parts, own.data() + own.size() - count);
    stream.wait();
  }
  const std::vector<std::vector<std::byte>> to_all(transport.size(), to_bytes(own));
  std::vector<std::vector<float>> from(transport.size());
  std::vector<kernels::LaneSpan> nodes;
  std::vector<const float*> parts;
  std::uint32_t rank = 0;
  for (const auto& bytes : exchange_unsized(transport, to_all)) {
    append_values(bytes, from[rank]);
    const float* part = from[rank].data();
    for (const auto& node : protocol::cover(protocol::lanes_of_rank(rank, transport.size()))) {
      nodes.push_back({node.first, node.size});
      parts.push_back(part);
      part += count;
    }
    ++rank;
  }
  std::vector<float> lse(count);
  group_.backend.merge_sums(stream, count, nodes, parts, lse.data());
  stream.wait();
  return lse;
}

std::vector<std::vector<ScoredPage>> Retrieval::best_of_all(const std::vector<Batch>& batches) {
  std::vector<std::vector<ScoredPage>> best;
  for (std::uint32_t head = 0; head < group_.format.kv_heads; ++head) {
    std::vector<ScoredPage> own;
    for (const Batch& batch : batches) {
      const float* votes = batch.votes.data() + head * batch.blocks.size() * kPagesPerBlock;
      for (const std::uint32_t block : batch.blocks) {
        for (std::uint32_t page = 0; page < kPagesPerBlock; ++page) {
          own.push_back({*votes++, block * kPagesPerBlock + page});
        }
      }
    }
    best.push_back(merge_lists(std::move(own), spec_.budget_tokens / kPageTokens));
  }
  return best;
}

// Collective. The best `count` pages of what all ranks have.
std::vector<ScoredPage> Retrieval::merge_lists(std::vector<ScoredPage> own, std::size_t count) {
  memory_store::keep_best(own, count);
  const std::vector<std::vector<std::byte>> to_all(group_.transport.size(), to_bytes(own));
  std::vector<ScoredPage> all;
  for (const auto& bytes : exchange_unsized(group_.transport, to_all)) append_values(bytes, all);
  memory_store::keep_best(all, count);
  return all;
}

std::vector<VisibleBlock> Retrieval::visible_blocks(std::uint32_t layer, std::int64_t tile_end) const {
  std::vector<VisibleBlock> visible = all_blocks(token_count_);
  if (!selects()) return visible;
  const memory_store::Selection& selection = selections_[layer];
  const bool is_true_position = tile_end <= std::int64_t{window_};
  const std::int64_t shown_at = std::int64_t{end_candidate_} * kBlockTokens - kBlockTokens;
  std::vector<VisibleBlock> kept;
  std::size_t next = 0;
  for (VisibleBlock& block : visible) {
    const bool is_candidate = block.index >= first_candidate_ && block.index < end_candidate_;
    if (is_candidate) {
      while (next < selection.blocks.size() && selection.blocks[next] < block.index) ++next;
      if (next == selection.blocks.size() || selection.blocks[next] != block.index) continue;
      block.head_masks = selection.masks.data() + next * group_.format.kv_heads;
    }
    const bool is_far = block.index < end_candidate_;
    if (is_far && !is_true_position) block.shift = shown_at - std::int64_t{block.index} * kBlockTokens;
    kept.push_back(block);
  }
  return kept;
}

std::uint64_t Retrieval::attended_tokens() const {
  if (!selects()) return token_count_;
  std::size_t pages = 0;
  for (const auto& selection : selections_) pages = std::max(pages, selection.largest(group_.format.kv_heads));
  const std::uint64_t fixed = kBlockTokens + token_count_ - std::uint64_t{end_candidate_} * kBlockTokens;
  return fixed + pages * kPageTokens;
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
  const std::uint32_t first = selects() ? first_candidate_ * kPagesPerBlock : std::min(1u, pages);
  const std::uint32_t end = selects() ? end_candidate_ * kPagesPerBlock : std::max(first, pages > 0 ? pages - 1 : 0);
  std::vector<ScoredPage> own;
  for (std::uint32_t page = first; page < end; ++page) {
    if (votes_[page] != kNothing) own.push_back({votes_[page], page});
  }
  const std::vector<ScoredPage> best = merge_lists(std::move(own), kEvidencePages);
  if (selects() && spec_.second_pass) {
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
