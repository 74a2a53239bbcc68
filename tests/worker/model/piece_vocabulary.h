// Small SentencePiece vocabularies written down in tests.
#pragma once

#include <fmt/format.h>

#include <string>
#include <utility>
#include <vector>

#include "worker/model/tokenizer/vocabulary.h"

namespace rotulus::worker {

struct ScoredPiece {
  std::string text;  // as a file spells it: U+2581 for a space
  float score = 0;
  tokenizer::TokenType type = tokenizer::TokenType::normal;
};

inline constexpr std::size_t kFirstPiece = 256;

// Token i is byte i; `pieces` follow.
inline tokenizer::Vocabulary piece_vocabulary(const std::vector<ScoredPiece>& pieces, bool adds_space) {
  tokenizer::Vocabulary vocabulary{.kind = tokenizer::VocabularyKind::sentence_piece, .adds_space = adds_space};
  const auto add = [&](std::string text, float score, tokenizer::TokenType type) {
    vocabulary.tokens.push_back(std::move(text));
    vocabulary.scores.push_back(score);
    vocabulary.types.push_back(type);
  };
  for (int byte = 0; byte < 256; ++byte) add(fmt::format("<0x{:02X}>", byte), 0, tokenizer::TokenType::byte);
  for (const ScoredPiece& piece : pieces) add(piece.text, piece.score, piece.type);
  return vocabulary;
}

}  // namespace rotulus::worker
