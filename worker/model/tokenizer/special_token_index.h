// Tokens that are found in text as they are, before any merging: control tokens ("<|im_start|>") and those that a
// vocabulary's makers defined beside the merges.
//
// Threads: immutable; safe anywhere.
#pragma once

#include <array>
#include <bitset>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "worker/model/tokenizer.h"
#include "worker/model/tokenizer/vocabulary.h"

namespace rotulus::worker::tokenizer {

class SpecialTokenIndex final {
 public:
  SpecialTokenIndex(const Vocabulary& vocabulary, std::initializer_list<TokenType> types);

  // The leftmost, and of those that begin there the longest.
  std::optional<SpecialMatch> find_first(std::string_view text) const;
  std::optional<TokenId> find(std::string_view text) const;

 private:
  struct Entry {
    std::string text;
    TokenId id;
  };
  std::array<std::vector<Entry>, 256> by_first_byte_;  // longest first
  std::bitset<(1u << 16)> begins_;                     // whether one begins with these two bytes
};

}  // namespace rotulus::worker::tokenizer
