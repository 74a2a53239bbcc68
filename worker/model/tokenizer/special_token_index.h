// Tokens that are found in text as they are, before any merging: control tokens ("<|im_start|>") and those that a
// vocabulary's makers defined beside the merges.
//
// Threads: immutable; safe anywhere.
#pragma once

#include <array>
#include <bitset>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "worker/model/tokenizer.h"
#include "worker/model/tokenizer/vocabulary.h"

namespace rotulus::worker::tokenizer {

class SpecialTokenIndex final {
 public:
  explicit SpecialTokenIndex(const Vocabulary& vocabulary, const std::function<bool(TokenId)>& is_wanted);

  bool empty() const { return begins_.none(); }

  // The leftmost, and of those that begin there the longest.
  std::optional<SpecialMatch> find_first(std::string_view text) const;
  std::optional<TokenId> find(std::string_view text) const;

  // As find_first in text that goes on: where a token begins that what follows may end, or make a longer one, the match
  // has no bytes.
  std::optional<SpecialMatch> find_first_in_part(std::string_view text) const;

 private:
  struct Entry {
    std::string text;
    TokenId id;
  };
  const Entry* find_at_start(std::string_view text) const;
  bool may_begin(std::string_view text) const;  // whether a longer text that begins so begins with a token

  std::array<std::vector<Entry>, 256> by_first_byte_;  // longest first
  std::bitset<(1u << 16)> begins_;                     // whether one begins with these two bytes
};

}  // namespace rotulus::worker::tokenizer
