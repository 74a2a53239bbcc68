// Cuts text into pre-tokens by the patterns of a pre-tokenizer.
//
// Text is cut on levels: first into runs of valid UTF-8 and single invalid bytes, then into user-defined tokens and
// what lies between them, then by each pattern of the pre-tokenizer in turn. A level cuts the piece of the level above
// it. While text is still to come, a piece may be *open*: its bytes up to `end` belong to it, and more may follow; what
// a pattern says is used only where it does not depend on the text after it, so that the cuts are those of the whole
// text however it arrives.
//
// Invalid UTF-8: each invalid byte is a pre-token of its own and an end of text for the patterns. (llama.cpp replaces
// such a byte by U+FFFD, `tokenizers` takes no text but valid UTF-8; either would lose the byte.)
//
// Threads: one thread; the PreTokenizer and the tokens are shared and outlive it.
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>
#include <vector>

#include "worker/model/tokenizer/encoder.h"
#include "worker/model/tokenizer/pre_tokenizer.h"
#include "worker/model/tokenizer/special_token_index.h"

namespace rotulus::worker::tokenizer {

class Splitter final : public Cutter {
 public:
  Splitter(const PreTokenizer& pre_tokenizer, const SpecialTokenIndex& tokens);

  void feed(std::string_view text, bool complete) override;
  std::optional<std::string_view> next() override;
  std::size_t handed_out() const override { return position_; }

 private:
  struct Piece {
    std::size_t end = 0;  // it begins at or before position_
    bool open = false;
    bool is_atom = false;  // an invalid byte or a token: goes through the other levels uncut
    bool operator==(const Piece&) const = default;
  };
  struct Level {
    enum class Kind { utf8, tokens, pattern } kind = Kind::utf8;
    const Pattern* pattern = nullptr;
    Piece piece;
    Piece above;         // what `piece` was cut from
    PatternMatch match;  // the last one found; ahead of position_ while the text before it is handed out
  };

  void refine(Level& level, const Piece& above);
  Piece cut_by_utf8(std::size_t from, const Piece& above) const;
  Piece cut_by_tokens(std::size_t from, const Piece& above) const;
  Piece cut_by_pattern(Level& level, std::size_t from, const Piece& above);

  const SpecialTokenIndex& tokens_;
  std::vector<Level> levels_;
  MatchScratch scratch_;
  std::string_view text_;
  bool complete_ = false;
  std::size_t position_ = 0;
};

}  // namespace rotulus::worker::tokenizer
