#include "worker/parallel/candidate_pages.h"

#include <algorithm>
#include <limits>

#include "protocol/lanes.h"
#include "worker/parallel/exchange.h"
#include "worker/parallel/foreign_blocks.h"

namespace rotulus::worker {
namespace {

using memory_store::BlockAddress;
using memory_store::BlockKind;
using protocol::kBlocksPerStripe;
using protocol::kPagesPerBlock;

// Landmarks held in memory at once, about 20 MB of a small model's.
constexpr std::size_t kBlocksPerBatch = 2048;

kernels::Landmark to_kernel(protocol::PageLandmark landmark) {
  switch (landmark) {
    case protocol::PageLandmark::mean:
      return kernels::Landmark::mean;
    case protocol::PageLandmark::bounds:
      return kernels::Landmark::bounds;
    case protocol::PageLandmark::sketched_bounds:
      return kernels::Landmark::sketched_bounds;
    case protocol::PageLandmark::centroid:
      return kernels::Landmark::centroid;
    case protocol::PageLandmark::sketch:
      break;
  }
  return kernels::Landmark::sketch;
}

BlockKind kind_of(protocol::PageLandmark landmark) {
  if (landmark == protocol::PageLandmark::centroid) return BlockKind::centroids;
  return landmark == protocol::PageLandmark::bounds ? BlockKind::bounds : BlockKind::landmarks;
}

// From one block of a stripe to the next. The centroids of a stripe are those of all its blocks.
std::size_t stride_of(BlockKind kind, const kernels::KvFormat& format) {
  if (kind == BlockKind::centroids) return 0;
  return kind == BlockKind::bounds ? kernels::bounds_block_bytes(format) : kernels::landmark_block_bytes(format);
}

// Appends the masks of a block, where the set has pages of it.
bool take_masks(const memory_store::Selection& set, std::uint32_t kv_heads, std::uint32_t block,
                std::vector<std::uint8_t>& masks) {
  const auto found = std::lower_bound(set.blocks.begin(), set.blocks.end(), block);
  if (found == set.blocks.end() || *found != block) return false;
  const auto first = set.masks.begin() + (found - set.blocks.begin()) * static_cast<std::ptrdiff_t>(kv_heads);
  masks.insert(masks.end(), first, first + kv_heads);
  return true;
}

}  // namespace

CandidatePages::CandidatePages(const GroupSetting& group, const std::vector<ChunkLocation>& chunks, std::uint32_t first,
                               std::uint32_t end)
    : group_(group), chunks_(chunks), first_(first), end_(end) {
  const protocol::LaneRange own = protocol::lanes_of_rank(group.transport.rank(), group.transport.size());
  std::vector<OwnLane> lanes(own.end - own.begin);
  for (std::uint32_t block = first; block < end; ++block) {
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

// Whether some rank owns candidates that lie on a volume of another: known to all, so that all fetch together.
bool CandidatePages::has_foreign_landmarks() const {
  for (std::uint32_t block = first_; block < end_; block += kBlocksPerStripe) {
    const auto holder = group_.holders.find(landmark_address(chunks_, 0, block).volume);
    const std::uint32_t owner = protocol::rank_of_lane(protocol::lane_of_block(block), group_.transport.size());
    if (holder != group_.holders.end() && holder->second != owner) return true;
  }
  return false;
}

std::vector<CandidatePages::Batch> CandidatePages::make_batches(std::size_t lists,
                                                                const memory_store::Selection* among) const {
  std::vector<Batch> batches;
  for (const OwnLane& lane : lanes_) {
    if (batches.empty() || batches.back().blocks.size() + lane.blocks.size() > kBlocksPerBatch) batches.emplace_back();
    Batch& batch = batches.back();
    const std::size_t first = batch.blocks.size();
    for (const std::uint32_t block : lane.blocks) {
      if (among && !take_masks(*among, group_.format.kv_heads, block, batch.head_masks)) continue;
      batch.blocks.push_back(block);
    }
    if (batch.blocks.size() == first) continue;
    batch.runs.push_back({static_cast<std::uint32_t>(first), static_cast<std::uint32_t>(batch.blocks.size() - first)});
    batch.nodes.push_back({lane.lane, 1});
  }
  for (Batch& batch : batches) {
    batch.votes.assign(lists * batch.page_count(), -std::numeric_limits<float>::infinity());
  }
  return batches;
}

std::optional<AttentionFailure> CandidatePages::fetch(std::uint32_t layer, protocol::PageLandmark landmark,
                                                      const std::vector<Batch>& batches,
                                                      std::vector<memory_store::PinnedBlocks>& held) const {
  if (!has_foreign_landmarks_) return std::nullopt;
  std::vector<BlockAddress> stripes;
  for (const Batch& batch : batches) {
    for (const std::uint32_t block : batch.blocks) {
      const BlockAddress address = landmark_address(chunks_, layer, block, kind_of(landmark));
      if (stripes.empty() || stripes.back() != address) stripes.push_back(address);
    }
  }
  return fetch_foreign_blocks(group_, stripes, held);
}

std::optional<AttentionFailure> CandidatePages::load(std::uint32_t layer, protocol::PageLandmark landmark,
                                                     const Batch& batch, memory_store::PinnedBlocks& pinned,
                                                     std::vector<const std::byte*>& landmarks) const {
  const BlockKind kind = kind_of(landmark);
  const std::size_t stride = stride_of(kind, group_.format);
  std::vector<BlockAddress> stripes;
  std::vector<std::size_t> stripe_of;  // [block]
  for (const std::uint32_t block : batch.blocks) {
    const BlockAddress address = landmark_address(chunks_, layer, block, kind);
    if (stripes.empty() || stripes.back() != address) stripes.push_back(address);
    stripe_of.push_back(stripes.size() - 1);
  }
  if (auto failure = pin_blocks(group_, stripes, pinned)) return failure;
  for (std::size_t i = 0; i < batch.blocks.size(); ++i) {
    landmarks.push_back(pinned[stripe_of[i]] + batch.blocks[i] % kBlocksPerStripe * stride);
  }
  return std::nullopt;
}

std::optional<AttentionFailure> CandidatePages::score(std::uint32_t layer, protocol::PageLandmark landmark,
                                                      std::size_t rows, const float* queries, Batch& batch,
                                                      kernels::Stream& stream) const {
  memory_store::PinnedBlocks pinned;
  std::vector<const std::byte*> landmarks;
  if (auto failure = load(layer, landmark, batch, pinned, landmarks)) return failure;
  std::vector<std::uint8_t> places;
  for (const std::uint32_t block : batch.blocks) places.push_back(static_cast<std::uint8_t>(block % kBlocksPerStripe));
  batch.rows = rows;
  batch.scores.resize(group_.model.query_heads * rows * batch.page_count());
  batch.sums.resize(batch.runs.size() * group_.model.query_heads * rows);
  kernels::ScoreTask task;
  task.kv_heads = group_.format.kv_heads;
  task.query_heads = group_.model.query_heads;
  task.head_dim = group_.format.head_dim;
  task.scale = group_.model.softmax_scale;
  task.landmark = to_kernel(landmark);
  task.rows = rows;
  task.queries = queries;
  task.landmarks = landmarks;
  task.places = places;
  task.head_masks = batch.head_masks;
  task.runs = batch.runs;
  task.scores = batch.scores.data();
  task.lse = batch.sums.data();
  group_.backend.score(stream, task);
  stream.wait();
  return std::nullopt;
}

std::optional<AttentionFailure> CandidatePages::bound(std::uint32_t layer, const float* query,
                                                      std::span<const std::int64_t> distances, Batch& batch,
                                                      kernels::Stream& stream) const {
  memory_store::PinnedBlocks pinned;
  std::vector<const std::byte*> bounds;
  if (auto failure = load(layer, protocol::PageLandmark::bounds, batch, pinned, bounds)) return failure;
  std::vector<std::int64_t> of_blocks;
  for (const std::uint32_t block : batch.blocks) of_blocks.push_back(distances[block - first_]);
  batch.scores.resize(group_.model.query_heads * batch.page_count());
  kernels::BoundTask task;
  task.kv_heads = group_.format.kv_heads;
  task.query_heads = group_.model.query_heads;
  task.head_dim = group_.format.head_dim;
  task.rope = group_.model.attention_of(layer).rope;
  task.scale = group_.model.softmax_scale;
  task.soft_cap = group_.model.attention_soft_cap;
  task.query = query;
  task.bounds = bounds;
  task.distances = of_blocks;
  task.most = batch.scores.data();
  group_.backend.bound(stream, task);
  stream.wait();
  return std::nullopt;
}

// Each rank sums its lanes to the nodes that cover them; the nodes of all ranks meet at the root.
std::vector<float> CandidatePages::sum_over_ranks(const std::vector<Batch>& batches, std::size_t count,
                                                  kernels::Stream& stream) const {
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
  const std::vector<std::vector<float>> from = exchange_values(transport, own);
  std::vector<kernels::LaneSpan> nodes;
  std::vector<const float*> parts;
  for (std::uint32_t rank = 0; rank < transport.size(); ++rank) {
    const float* part = from[rank].data();
    for (const auto& node : protocol::cover(protocol::lanes_of_rank(rank, transport.size()))) {
      nodes.push_back({node.first, node.size});
      parts.push_back(part);
      part += count;
    }
  }
  std::vector<float> sums(count);
  group_.backend.merge_sums(stream, count, nodes, parts, sums.data());
  stream.wait();
  return sums;
}

std::vector<float> CandidatePages::sum_pages(std::vector<Batch>& batches, std::size_t lists, kernels::Stream& stream,
                                             const std::function<std::vector<float>(const Batch&)>& values) const {
  for (Batch& batch : batches) {
    const std::vector<float> given = values(batch);
    batch.sums.resize(batch.runs.size() * lists);
    group_.backend.sum_pages(stream, {lists, batch.page_count(), given.data(), batch.runs, batch.sums.data()});
    stream.wait();
  }
  return sum_over_ranks(batches, lists, stream);
}

}  // namespace rotulus::worker
