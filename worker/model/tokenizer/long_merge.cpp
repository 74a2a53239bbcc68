#include "worker/model/tokenizer/long_merge.h"

#include <algorithm>
#include <functional>
#include <queue>
#include <string>
#include <unordered_map>
#include <utility>

#include "protocol/error.h"

namespace rotulus::worker::tokenizer {
namespace {

// Merges one segment. Pairs wait in a list for each rank; the lists are served in the order of ranks, each from left to
// right. A pair that is no longer there when its turn comes is skipped.
//
// Symbols lie in one word a byte, so that no links are stored (length = bytes of the symbol):
//   1. the word of a symbol's first byte holds its token id;
//   2. where it is longer than one byte, the word of its last byte holds kMark | length, to find its start from behind;
//   3. a word between them is never read, or holds a mark.
class SegmentMerge {
 public:
  SegmentMerge(const MergeRules& rules, std::string_view text) : rules_(rules), symbols_(text.size()) {
    CHECK(text.size() < kMark, text.size());
    std::uint32_t length = 0;
    for (std::uint32_t position = 0; position < text.size(); position += length) {
      const auto first = rules.first_symbol(text.substr(position));
      length = first.bytes;
      place(position, first.id, length);
    }
  }

  std::vector<TokenId> run() {
    for (std::uint32_t position = 0; position < symbols_.size(); position += length_at(position)) push_pair(position);
    while (!ranks_.empty()) {
      const std::uint32_t rank = ranks_.top();
      ranks_.pop();
      serve(rank);
    }
    std::vector<TokenId> ids;
    for (std::uint32_t position = 0; position < symbols_.size(); position += length_at(position))
      ids.push_back(symbols_[position]);
    return ids;
  }

 private:
  static constexpr std::uint32_t kMark = std::uint32_t{1} << 31;

  std::uint32_t length_at(std::uint32_t position) const { return rules_.length(symbols_[position]); }

  void place(std::uint32_t position, TokenId id, std::uint32_t length) {
    symbols_[position] = id;
    if (length > 1) symbols_[position + length - 1] = kMark | length;
  }

  void serve(std::uint32_t rank) {
    auto positions = std::move(waiting_.extract(rank).mapped());
    if (!std::is_sorted(positions.begin(), positions.end())) std::sort(positions.begin(), positions.end());
    for (std::size_t i = 0; i < positions.size(); ++i) {
      const bool is_overtaken = merge_at(positions[i], rank);
      if (is_overtaken && i + 1 < positions.size()) {
        // Only a merge that is listed before the merges that make its parts can do this, or one of several of a rank.
        auto& later = waiting_[rank];
        if (later.empty()) ranks_.push(rank);
        later.insert(later.end(), positions.begin() + static_cast<std::ptrdiff_t>(i) + 1, positions.end());
        return;
      }
    }
  }

  // Returns whether a pair of this rank or a better one now waits beside what was merged.
  bool merge_at(std::uint32_t position, std::uint32_t rank) {
    if ((symbols_[position] & kMark) != 0) return false;  // merged into what stood before it
    const std::uint32_t left_length = length_at(position);
    const std::uint32_t right = position + left_length;
    if (right >= symbols_.size()) return false;
    const auto& merge = rules_.find(symbols_[position], symbols_[right]);
    if (merge.rank != rank) return false;  // one side has grown since
    const std::uint32_t length = left_length + length_at(right);
    symbols_[right] = kMark;
    place(position, merge.merged, length);

    std::uint32_t best = MergeRules::kNoRank;
    if (position > 0) {
      const std::uint32_t before = symbols_[position - 1];
      best = push_pair((before & kMark) != 0 ? position - (before & ~kMark) : position - 1);
    }
    return std::min(best, push_pair(position)) <= rank;
  }

  // Lets the pair that begins at `position` wait; returns its rank.
  std::uint32_t push_pair(std::uint32_t position) {
    const std::uint32_t right = position + length_at(position);
    if (right >= symbols_.size()) return MergeRules::kNoRank;
    const std::uint32_t rank = rules_.find(symbols_[position], symbols_[right]).rank;
    if (rank == MergeRules::kNoRank) return rank;
    auto& positions = waiting_[rank];
    if (positions.empty()) ranks_.push(rank);
    positions.push_back(position);
    return rank;
  }

  const MergeRules& rules_;
  std::vector<std::uint32_t> symbols_;
  std::unordered_map<std::uint32_t, std::vector<std::uint32_t>> waiting_;  // positions by rank; never an empty list
  std::priority_queue<std::uint32_t, std::vector<std::uint32_t>, std::greater<>> ranks_;  // those in waiting_, once
};

// Whether two symbols that meet at `border`, merged from their text, give themselves again.
bool stand_side_by_side(const MergeRules& rules, TokenId left, TokenId right, std::string_view text,
                        std::size_t border) {
  const std::string_view both = text.substr(border - rules.length(left), rules.length(left) + rules.length(right));
  return SegmentMerge(rules, both).run() == std::vector{left, right};
}

// The size of the segment that `rest` begins with, which does not end inside a character.
std::size_t segment_size(std::string_view rest, std::size_t segment_bytes) {
  const auto is_inside_character = [](char byte) { return (static_cast<std::uint8_t>(byte) & 0xC0) == 0x80; };
  std::size_t size = std::min(segment_bytes, rest.size());
  while (size < rest.size() && is_inside_character(rest[size])) ++size;
  return size;
}

}  // namespace

void merge_long(const MergeRules& rules, std::string_view text, std::size_t segment_bytes, std::vector<TokenId>& ids) {
  constexpr int kMaxMoves = 16;
  std::size_t border = 0;  // bytes of the text that the ids added so far stand for
  std::size_t furthest = 0;
  const auto move_border_back = [&] {
    border -= rules.length(ids.back());
    ids.pop_back();
  };
  for (int moves = 0; border < text.size();) {
    const bool is_whole = moves >= kMaxMoves;
    while (is_whole && border > 0) move_border_back();
    const std::size_t size = is_whole ? text.size() : segment_size(text.substr(border), segment_bytes);
    const std::vector<TokenId> segment = SegmentMerge(rules, text.substr(border, size)).run();
    if (border > 0 && !stand_side_by_side(rules, ids.back(), segment[0], text, border)) {
      move_border_back();
      ++moves;
      continue;
    }
    ids.insert(ids.end(), segment.begin(), segment.end());
    border += size;
    if (border == text.size()) return;
    // The last tokens of a segment are often not those of the whole: the next one begins before them.
    const std::size_t floor = border - size / 16;
    while (border > floor) move_border_back();
    moves = border > furthest ? 0 : kMaxMoves;  // tokens longer than segments lead nowhere
    furthest = border;
  }
}

}  // namespace rotulus::worker::tokenizer
