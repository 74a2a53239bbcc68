#include "worker/model/tokenizer/splitter.h"

#include "protocol/error.h"
#include "worker/model/tokenizer/utf8.h"

namespace rotulus::worker::tokenizer {

Splitter::Splitter(const PreTokenizer& pre_tokenizer, const SpecialTokenIndex& tokens) : tokens_(tokens), levels_(1) {
  if (!tokens.empty()) levels_.push_back({.kind = Level::Kind::tokens});
  for (const Pattern& pattern : pre_tokenizer.patterns)
    levels_.push_back({.kind = Level::Kind::pattern, .pattern = &pattern});
}

void Splitter::feed(std::string_view text, bool complete) {
  CHECK(text.size() >= text_.size() - position_, text.size(), text_.size(), position_);
  for (Level& level : levels_) {
    level.piece.end -= position_;
    level.above.end -= position_;
    if (level.match.begin < position_) {
      level.match = {};
    } else {
      level.match.begin -= position_;
      level.match.end -= position_;
    }
  }
  text_ = text;
  complete_ = complete;
  position_ = 0;
}

std::optional<std::string_view> Splitter::next() {
  Piece above{.end = text_.size(), .open = !complete_};
  for (Level& level : levels_) {
    const bool is_used_up = level.piece.end == position_;
    if (is_used_up || (level.piece.open && level.above != above)) refine(level, above);
    if (level.piece.end == position_) return std::nullopt;
    above = level.piece;
  }
  if (above.open) return std::nullopt;
  const std::string_view pre_token = text_.substr(position_, above.end - position_);
  position_ = above.end;
  return pre_token;
}

void Splitter::refine(Level& level, const Piece& above) {
  // No match begins in what is known of an open piece: the search goes on behind it. (Where the piece is used up, this
  // is position_.)
  const std::size_t from = level.piece.end;
  level.above = above;
  if (above.is_atom) {
    level.piece = above;
    return;
  }
  switch (level.kind) {
    case Level::Kind::utf8:
      level.piece = cut_by_utf8(from, above);
      return;
    case Level::Kind::tokens:
      level.piece = cut_by_tokens(from, above);
      return;
    case Level::Kind::pattern:
      level.piece = cut_by_pattern(level, from, above);
      return;
  }
}

Splitter::Piece Splitter::cut_by_utf8(std::size_t from, const Piece& above) const {
  const std::size_t end = from + valid_utf8_prefix(text_.substr(from));
  if (end == text_.size()) return {.end = end, .open = above.open};
  if (above.open && step_utf8(text_.substr(end)).kind == Utf8Step::Kind::incomplete) return {.end = end, .open = true};
  if (end > position_) return {.end = end};
  return {.end = end + 1, .is_atom = true};
}

Splitter::Piece Splitter::cut_by_tokens(std::size_t from, const Piece& above) const {
  const std::string_view text = text_.substr(from, above.end - from);
  const auto match = above.open ? tokens_.find_first_in_part(text) : tokens_.find_first(text);
  if (!match) return above;
  const std::size_t begin = from + match->offset;
  if (match->bytes == 0) return {.end = begin, .open = true};
  if (begin > position_) return {.end = begin};
  return {.end = begin + match->bytes, .is_atom = true};
}

Splitter::Piece Splitter::cut_by_pattern(Level& level, std::size_t from, const Piece& above) {
  PatternMatch& match = level.match;
  if (match.kind != PatternMatch::Kind::whole || match.begin != from) {
    match = level.pattern->find(text_.substr(from, above.end - from), above.open, scratch_);
    match.begin += from;
    match.end += from;
  }
  switch (match.kind) {
    case PatternMatch::Kind::none:
      return above;
    case PatternMatch::Kind::undecided:
      return {.end = match.begin, .open = true};
    case PatternMatch::Kind::whole:
      break;
  }
  CHECK(match.end > match.begin, match.begin, match.end);  // no pattern matches the empty text
  return {.end = match.begin > position_ ? match.begin : match.end};
}

}  // namespace rotulus::worker::tokenizer
