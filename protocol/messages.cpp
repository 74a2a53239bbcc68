#include "protocol/messages.h"

#include <algorithm>

namespace rotulus::protocol {

std::optional<std::string> find_conflict(const ContextParameters& stored, const ContextParameters& running) {
  if (stored.model_fingerprint != running.model_fingerprint) return "model_fingerprint";
  if (stored.tokenizer_fingerprint != running.tokenizer_fingerprint) return "tokenizer_fingerprint";
  if (stored.rope != running.rope) return "rope";
  if (stored.kv_type != running.kv_type) return "kv_type";
  if (stored.block_tokens != running.block_tokens) return "block_tokens";
  if (stored.lane_count != running.lane_count) return "lane_count";
  if (stored.chunk_tokens != running.chunk_tokens) return "chunk_tokens";
  if (stored.format_version != running.format_version) return "format_version";
  const std::uint32_t landmarks = stored.retrieval.landmark_version;
  if (landmarks != 0 && landmarks != kLandmarkVersion) return "landmark_version";
  if (landmarks != 0 && (stored.retrieval.landmarks & ~kKnownLandmarks) != 0) return "landmarks";
  return std::nullopt;
}

VolumeId volume_of_lane(const Placement& placement, std::uint32_t lane) {
  CHECK(!placement.empty() && placement.front().first_lane == 0 && lane < kLaneCount, placement.size(), lane);
  const auto next =
      std::upper_bound(placement.begin(), placement.end(), lane,
                       [](std::uint32_t wanted, const PlacementRun& run) { return wanted < run.first_lane; });
  return std::prev(next)->volume;
}

Placement place_lanes(const std::vector<std::vector<VolumeId>>& volumes_of_ranks) {
  const auto size = static_cast<std::uint32_t>(volumes_of_ranks.size());
  Placement placement;
  for (std::uint32_t rank = 0; rank < size; ++rank) {
    const auto count = static_cast<std::uint32_t>(volumes_of_ranks[rank].size());
    if (count == 0) return {};
    const LaneRange lanes = lanes_of_rank(rank, size);
    for (std::uint32_t i = 0; i < count; ++i) {
      const std::uint32_t first = lanes.begin + (lanes.end - lanes.begin) * i / count;
      const std::uint32_t end = lanes.begin + (lanes.end - lanes.begin) * (i + 1) / count;
      if (first < end) placement.push_back({first, volumes_of_ranks[rank][i]});
    }
  }
  return placement;
}

}  // namespace rotulus::protocol
