// Where text may be cut without changing what SentencePiece makes of it: between two characters that no piece of the
// vocabulary has side by side. Nothing that merging makes, and no user-defined piece, can then lie across; and merges
// on the two sides do not see each other.
//
// Threads: PieceBorders is immutable; a PieceCutter belongs to one thread.
#pragma once

#include <bitset>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "worker/model/tokenizer/encoder.h"

namespace rotulus::worker::tokenizer {

class PieceBorders final {
 public:
  explicit PieceBorders(const std::vector<std::string_view>& pieces);  // valid UTF-8

  // Whether a piece has `left` and, right behind it, `right`.
  bool joins(char32_t left, char32_t right) const {
    if (left < kAscii && right < kAscii) return ascii_[left * kAscii + right];
    return pairs_[slot_of(pair_of(left, right))] != kNoPair;
  }

 private:
  static constexpr char32_t kAscii = 128;
  static constexpr std::uint64_t kNoPair = UINT64_MAX;

  static std::uint64_t pair_of(char32_t left, char32_t right) { return std::uint64_t{left} << 32 | right; }
  std::size_t slot_of(std::uint64_t pair) const;  // where it is, or would be

  std::bitset<kAscii * kAscii> ascii_;
  std::vector<std::uint64_t> pairs_;  // the others: open addressing; a power of two, at most half full
};

// Cuts text at all such places, and around each byte that is not UTF-8.
class PieceCutter final : public Cutter {
 public:
  explicit PieceCutter(const PieceBorders& borders) : borders_(borders) {}

  void feed(std::string_view text, bool complete) override;
  std::optional<std::string_view> next() override;
  std::size_t handed_out() const override { return position_; }

 private:
  std::string_view hand_out(std::size_t end);

  const PieceBorders& borders_;
  std::string_view text_;
  bool complete_ = false;
  std::size_t position_ = 0;
  std::size_t looked_at_ = 0;  // [position_, looked_at_) is one piece, which may go on
  char32_t last_ = 0;          // its last character
};

}  // namespace rotulus::worker::tokenizer
