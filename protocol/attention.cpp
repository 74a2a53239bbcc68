#include "protocol/attention.h"

#include <bit>
#include <string>

#include "protocol/error.h"
#include "protocol/limits.h"

namespace rotulus::protocol {
namespace {

template <typename Value>
void require(bool holds, const char* field, const Value& value, const std::string& expected) {
  if (holds) return;
  throw Error(ErrorCode::invalid_argument, fmt::format("`{}` must be {}, not {}.", field, expected, value), field);
}

}  // namespace

void check(const AttentionSpec& spec) {
  require(spec.budget_tokens <= kMaxBudgetTokens && spec.budget_tokens % kPageTokens == 0, "budget_tokens",
          spec.budget_tokens, fmt::format("a multiple of {} of at most {}", kPageTokens, kMaxBudgetTokens));
  require(spec.reread_tokens <= kMaxBudgetTokens && spec.reread_tokens % kPageTokens == 0, "reread_tokens",
          spec.reread_tokens, fmt::format("a multiple of {} of at most {}", kPageTokens, kMaxBudgetTokens));
  require(spec.local_tokens % kBlockTokens == 0, "local_tokens", spec.local_tokens,
          fmt::format("a multiple of {}", kBlockTokens));
  require(spec.top_p > 0 && spec.top_p <= 1, "top_p", spec.top_p, "above 0 and at most 1");
  require(spec.top_p == 1 || spec.unit == SelectionUnit::page, "top_p", spec.top_p,
          "1 where `unit` is \"block\": a block's share is not known");
  require(std::has_single_bit(spec.reselect_every) && spec.reselect_every <= kMaxReselectEvery, "reselect_every",
          spec.reselect_every, fmt::format("a power of two from 1 to {}", kMaxReselectEvery));
  require(std::has_single_bit(spec.rescan_every) && spec.rescan_every <= kMaxReselectEvery, "rescan_every",
          spec.rescan_every, fmt::format("a power of two from 1 to {}", kMaxReselectEvery));
  require(spec.candidate_pages >= 1 && spec.candidate_pages <= kMaxCandidatePages, "candidate_pages",
          spec.candidate_pages, fmt::format("from 1 to {}", kMaxCandidatePages));
  require(spec.scan_share > 0 && spec.scan_share <= 1, "scan_share", spec.scan_share, "above 0 and at most 1");
  require(spec.layer_stride >= 1 && spec.layer_stride <= kMaxSelectLayers, "layer_stride", spec.layer_stride,
          fmt::format("from 1 to {}", kMaxSelectLayers));
  require(spec.select_layers.size() <= kMaxSelectLayers, "select_layers", spec.select_layers.size(),
          fmt::format("at most {} layers", kMaxSelectLayers));
  for (std::size_t i = 1; i < spec.select_layers.size(); ++i) {
    require(spec.select_layers[i - 1] < spec.select_layers[i], "select_layers", spec.select_layers[i],
            "ascending, without repetition");
  }
}

std::optional<PageLandmark> landmark_of(PageLandmark wanted, LandmarkKinds kept) {
  if (wanted == PageLandmark::bounds && (kept & kKeepsBounds) != 0) return wanted;
  if (wanted == PageLandmark::centroid && (kept & kKeepsCentroids) != 0) return wanted;
  if ((kept & kKeepsSketches) == 0) return std::nullopt;
  if (wanted == PageLandmark::bounds) return PageLandmark::sketched_bounds;
  return wanted == PageLandmark::centroid ? PageLandmark::mean : wanted;
}

}  // namespace rotulus::protocol
