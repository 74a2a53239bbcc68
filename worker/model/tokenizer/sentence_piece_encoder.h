// SentencePiece's byte-pair encoding: characters are merged as long as the vocabulary has what a merge makes, the piece
// of the highest score first (Kudo & Richardson 2018); a character that is no piece becomes its bytes.
//
// User-defined pieces are found in the text first, the leftmost and of those the longest, and are never merged.
// The space that pieces write as U+2581 is a space here, and U+2581 itself, which SentencePiece would make a space, is
// a character that becomes its bytes: text comes back as it was.
#pragma once

#include <array>
#include <memory>
#include <string_view>
#include <vector>

#include "worker/model/tokenizer/encoder.h"
#include "worker/model/tokenizer/merge_rules.h"
#include "worker/model/tokenizer/piece_borders.h"
#include "worker/model/tokenizer/special_token_index.h"
#include "worker/model/tokenizer/text_table.h"
#include "worker/model/tokenizer/vocabulary.h"

namespace rotulus::worker::tokenizer {

class SentencePieceEncoder final : public Encoder {
 public:
  // Throws Error{unsupported} if the vocabulary has no token for some byte.
  explicit SentencePieceEncoder(const Vocabulary& vocabulary);

  std::unique_ptr<Cutter> make_cutter() const override;
  void encode(std::string_view pre_token, std::vector<TokenId>& ids) const override;
  std::string_view missing_bytes() const override { return {}; }
  bool adds_bos() const override { return true; }

 private:
  struct Pieces;
  SentencePieceEncoder(const Vocabulary& vocabulary, const Pieces& pieces);

  void find_whole_pieces(const Pieces& pieces);
  void encode_parts(std::string_view pre_token, std::vector<TokenId>& ids) const;  // without the look-up
  void merge(std::string_view text, std::vector<TokenId>& ids) const;
  void append_bytes(std::string_view text, std::vector<TokenId>& ids) const;

  std::size_t token_count_;  // symbols from here on are characters that are no pieces
  std::array<TokenId, 256> byte_tokens_;
  MergeRules rules_;
  SpecialTokenIndex user_defined_;
  PieceBorders borders_;
  TextTable whole_pieces_;  // pieces that a pre-token of their text becomes
};

}  // namespace rotulus::worker::tokenizer
