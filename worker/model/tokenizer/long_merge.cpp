#include "worker/model/tokenizer/long_merge.h"

#include <algorithm>
#include <utility>

#include "protocol/error.h"

namespace rotulus::worker::tokenizer {

LongMerge::LongMerge(const BytePairEncoder& encoder, std::vector<std::uint32_t> symbols)
    : encoder_(encoder), symbols_(std::move(symbols)) {
  CHECK(symbols_.size() < kMark, symbols_.size());
}

void LongMerge::run(std::vector<TokenId>& ids) {
  for (std::uint32_t position = 0; position < symbols_.size(); ++position) push_pair(position);
  while (!ranks_.empty()) {
    const std::uint32_t rank = ranks_.top();
    ranks_.pop();
    serve(rank);
  }
  for (std::uint32_t position = 0; position < symbols_.size(); position += length_at(position))
    ids.push_back(symbols_[position]);
}

void LongMerge::serve(std::uint32_t rank) {
  auto positions = std::move(waiting_.extract(rank).mapped());
  if (!std::is_sorted(positions.begin(), positions.end())) std::sort(positions.begin(), positions.end());
  for (std::size_t i = 0; i < positions.size(); ++i) {
    const bool is_overtaken = merge_at(positions[i], rank);
    if (is_overtaken && i + 1 < positions.size()) {
      // Only a merge that is listed before the merges that make its parts can do this. No pair of this rank was added
      // meanwhile: a symbol that a merge makes is longer than both sides of the pair.
      positions.erase(positions.begin(), positions.begin() + static_cast<std::ptrdiff_t>(i) + 1);
      waiting_.emplace(rank, std::move(positions));
      ranks_.push(rank);
      return;
    }
  }
}

bool LongMerge::merge_at(std::uint32_t position, std::uint32_t rank) {
  if ((symbols_[position] & kMark) != 0) return false;  // merged into what stood before it
  const std::uint32_t left_length = length_at(position);
  const std::uint32_t right = position + left_length;
  if (right >= symbols_.size()) return false;
  const auto& merge = encoder_.find_merge(symbols_[position], symbols_[right]);
  if (merge.rank != rank) return false;  // one side has grown since
  const std::uint32_t length = left_length + length_at(right);
  symbols_[position] = merge.merged;
  symbols_[right] = kMark;
  symbols_[position + length - 1] = kMark | length;

  std::uint32_t best = BytePairEncoder::kNoRank;
  if (position > 0) {
    const std::uint32_t before = symbols_[position - 1];
    best = push_pair((before & kMark) != 0 ? position - (before & ~kMark) : position - 1);
  }
  return std::min(best, push_pair(position)) < rank;
}

std::uint32_t LongMerge::push_pair(std::uint32_t position) {
  const std::uint32_t right = position + length_at(position);
  if (right >= symbols_.size()) return BytePairEncoder::kNoRank;
  const std::uint32_t rank = encoder_.find_merge(symbols_[position], symbols_[right]).rank;
  if (rank == BytePairEncoder::kNoRank) return rank;
  auto& positions = waiting_[rank];
  if (positions.empty()) ranks_.push(rank);
  positions.push_back(position);
  return rank;
}

}  // namespace rotulus::worker::tokenizer
