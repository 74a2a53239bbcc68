#include "coordinator/cost_model.h"

#include <algorithm>

namespace rotulus::coordinator {

using protocol::RetrievalParameters;
using protocol::TokenRange;

double mean_attended(TokenRange range, const RetrievalParameters& retrieval) {
  if (range.count() == 0) return 0;
  const std::uint64_t exact_end = retrieval.landmark_version == 0
                                      ? range.end
                                      : std::clamp<std::uint64_t>(retrieval.exact_tokens, range.begin, range.end);
  const auto exact_rows = static_cast<double>(exact_end - range.begin);
  const auto other_rows = static_cast<double>(range.end - exact_end);
  const double exact_attended = exact_rows * (static_cast<double>(range.begin + exact_end) + 1) / 2;
  return (exact_attended + other_rows * (protocol::kBlockTokens + retrieval.local_tokens)) /
         static_cast<double>(range.count());
}

void CostModel::observe(TokenRange range, const RetrievalParameters& retrieval, double seconds) {
  if (range.count() == 0) return;
  const auto tokens = static_cast<double>(range.count());
  const double x = mean_attended(range, retrieval);
  const double y = seconds / tokens;
  weight_ += tokens;
  x_ += tokens * x;
  y_ += tokens * y;
  xx_ += tokens * x * x;
  xy_ += tokens * x * y;
}

std::optional<double> CostModel::seconds(std::uint64_t tokens, const RetrievalParameters& retrieval) const {
  if (weight_ == 0) return std::nullopt;
  const double mean_x = x_ / weight_;
  const double mean_y = y_ / weight_;
  const double variance = xx_ / weight_ - mean_x * mean_x;
  const double covariance = xy_ / weight_ - mean_x * mean_y;
  // Chunks that all attended to as much say nothing of the slope, and noise may turn it round.
  double slope = variance > 1 ? std::max(0.0, covariance / variance) : 0;
  if (slope * mean_x > mean_y) slope = mean_y / mean_x;
  const double fixed = mean_y - slope * mean_x;
  return static_cast<double>(tokens) * (fixed + slope * mean_attended({0, tokens}, retrieval));
}

}  // namespace rotulus::coordinator
