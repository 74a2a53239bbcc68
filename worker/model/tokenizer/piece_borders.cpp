#include "worker/model/tokenizer/piece_borders.h"

#include <algorithm>
#include <bit>

#include "protocol/error.h"
#include "worker/model/tokenizer/utf8.h"

namespace rotulus::worker::tokenizer {

PieceBorders::PieceBorders(const std::vector<std::string_view>& pieces) {
  std::vector<std::uint64_t> pairs;
  for (std::string_view piece : pieces) {
    std::optional<char32_t> left;
    while (!piece.empty()) {
      const std::size_t bytes = step_utf8(piece).bytes;
      const char32_t right = decode_utf8(piece.substr(0, bytes));
      if (left && *left < kAscii && right < kAscii) {
        ascii_.set(*left * kAscii + right);
      } else if (left) {
        pairs.push_back(pair_of(*left, right));
      }
      left = right;
      piece.remove_prefix(bytes);
    }
  }
  std::sort(pairs.begin(), pairs.end());
  pairs.erase(std::unique(pairs.begin(), pairs.end()), pairs.end());
  pairs_.assign(std::bit_ceil(2 * pairs.size() + 1), kNoPair);
  for (const std::uint64_t pair : pairs) pairs_[slot_of(pair)] = pair;
}

std::size_t PieceBorders::slot_of(std::uint64_t pair) const {
  const std::size_t mask = pairs_.size() - 1;
  std::size_t slot = (pair * 0x9E3779B97F4A7C15ull >> 32) & mask;  // Fibonacci hashing
  while (pairs_[slot] != pair && pairs_[slot] != kNoPair) slot = (slot + 1) & mask;
  return slot;
}

void PieceCutter::feed(std::string_view text, bool complete) {
  CHECK(text.size() >= text_.size() - position_, text.size(), text_.size(), position_);
  looked_at_ -= position_;
  position_ = 0;
  text_ = text;
  complete_ = complete;
}

std::optional<std::string_view> PieceCutter::next() {
  using Kind = Utf8Step::Kind;
  while (looked_at_ < text_.size()) {
    const Utf8Step step = step_utf8(text_.substr(looked_at_));
    if (step.kind == Kind::incomplete && !complete_) return std::nullopt;
    const bool is_first = looked_at_ == position_;
    if (step.kind != Kind::character) return hand_out(is_first ? position_ + 1 : looked_at_);
    const char32_t character = decode_utf8(text_.substr(looked_at_, step.bytes));
    if (!is_first && !borders_.joins(last_, character)) return hand_out(looked_at_);
    last_ = character;
    looked_at_ += step.bytes;
  }
  if (!complete_ || looked_at_ == position_) return std::nullopt;
  return hand_out(looked_at_);
}

std::string_view PieceCutter::hand_out(std::size_t end) {
  const std::string_view piece = text_.substr(position_, end - position_);
  position_ = looked_at_ = end;
  return piece;
}

}  // namespace rotulus::worker::tokenizer
