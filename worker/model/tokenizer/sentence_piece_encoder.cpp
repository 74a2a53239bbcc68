#include "worker/model/tokenizer/sentence_piece_encoder.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <string>

#include "protocol/error.h"
#include "worker/model/tokenizer/utf8.h"

namespace rotulus::worker::tokenizer {
namespace {

using protocol::Error;
using protocol::ErrorCode;

constexpr std::size_t kMaxCharacterBytes = 4;

bool is_valid_utf8(std::string_view text) {
  return valid_utf8_prefix(text) == text.size();
}

std::array<TokenId, 256> find_byte_tokens(const Vocabulary& vocabulary) {
  std::array<std::optional<TokenId>, 256> found;
  for (std::size_t id = 0; id < vocabulary.tokens.size(); ++id) {
    if (vocabulary.types[id] != TokenType::byte) continue;
    const std::string bytes = token_bytes(vocabulary, static_cast<TokenId>(id));
    if (bytes.size() == 1) found[static_cast<std::uint8_t>(bytes[0])] = static_cast<TokenId>(id);
  }
  std::array<TokenId, 256> tokens{};
  for (std::size_t byte = 0; byte < found.size(); ++byte) {
    if (!found[byte])
      throw Error(
          ErrorCode::unsupported,
          fmt::format("tokenizer.ggml.tokens has no byte token <0x{:02X}>: text could not be kept as it is", byte));
    tokens[byte] = *found[byte];
  }
  return tokens;
}

}  // namespace

// The pieces of a vocabulary and the rules by which they are merged, as they are collected.
struct SentencePieceEncoder::Pieces {
  struct Piece {
    std::string text;
    TokenId id;
    std::uint32_t rank;  // 0: the highest score
  };
  struct Rule {
    TokenId left;
    TokenId right;
    const Piece* merged;
  };

  explicit Pieces(const Vocabulary& vocabulary) : by_text(vocabulary.tokens.size()) {
    std::vector<float> scores = vocabulary.scores;
    std::sort(scores.begin(), scores.end(), std::greater<>());
    scores.erase(std::unique(scores.begin(), scores.end()), scores.end());
    for (std::size_t i = 0; i < vocabulary.tokens.size(); ++i) {
      const auto id = static_cast<TokenId>(i);
      const TokenType type = vocabulary.types[i];
      if (type != TokenType::normal && type != TokenType::user_defined) continue;
      std::string text = token_bytes(vocabulary, id);
      if (text.empty() || !is_valid_utf8(text)) continue;
      if (type == TokenType::user_defined) {
        user_defined.push_back({std::move(text), id, 0});
        continue;
      }
      const auto place = std::lower_bound(scores.begin(), scores.end(), vocabulary.scores[i], std::greater<>());
      by_text.add(text, id);
      normal.push_back({std::move(text), id, static_cast<std::uint32_t>(place - scores.begin())});
    }
    symbol_count = vocabulary.tokens.size() + kMaxCharacterBytes;
    find_characters();
    find_rules();
  }

  // Characters that only occur inside of pieces are symbols too.
  void find_characters() {
    std::vector<std::string_view> missing;
    for (const Piece& piece : normal) {
      for (std::string_view rest = piece.text; !rest.empty();) {
        const std::string_view character = rest.substr(0, step_utf8(rest).bytes);
        if (!by_text.find(character)) missing.push_back(character);
        rest.remove_prefix(character.size());
      }
    }
    std::sort(missing.begin(), missing.end());
    missing.erase(std::unique(missing.begin(), missing.end()), missing.end());
    other_characters = std::move(missing);
  }

  std::optional<TokenId> find_symbol(std::string_view text) const {
    if (const auto id = by_text.find(text)) return id;
    const auto found = std::lower_bound(other_characters.begin(), other_characters.end(), text);
    if (found == other_characters.end() || *found != text) return std::nullopt;
    return static_cast<TokenId>(symbol_count + static_cast<std::size_t>(found - other_characters.begin()));
  }

  void find_rules() {
    for (const Piece& piece : normal) {
      const std::string_view text = piece.text;
      for (std::size_t border = step_utf8(text).bytes; border < text.size();
           border += step_utf8(text.substr(border)).bytes) {
        const auto left = find_symbol(text.substr(0, border));
        const auto right = left ? find_symbol(text.substr(border)) : std::nullopt;
        if (right) rules.push_back({*left, *right, &piece});
      }
    }
  }

  std::vector<std::string_view> texts() const {
    std::vector<std::string_view> texts;
    for (const auto* pieces : {&normal, &user_defined})
      for (const Piece& piece : *pieces) texts.push_back(piece.text);
    return texts;
  }

  std::vector<Piece> normal;
  std::vector<Piece> user_defined;
  TextTable by_text;                               // normal ones
  std::size_t symbol_count = 0;                    // tokens, and unknown characters by their length
  std::vector<std::string_view> other_characters;  // symbols from symbol_count on; sorted
  std::vector<Rule> rules;
};

SentencePieceEncoder::SentencePieceEncoder(const Vocabulary& vocabulary)
    : SentencePieceEncoder(vocabulary, Pieces(vocabulary)) {}

SentencePieceEncoder::SentencePieceEncoder(const Vocabulary& vocabulary, const Pieces& pieces)
    : token_count_(vocabulary.tokens.size()),
      byte_tokens_(find_byte_tokens(vocabulary)),
      rules_(MergeRules::Unit::character, pieces.symbol_count + pieces.other_characters.size(), pieces.rules.size()),
      user_defined_(vocabulary, [&](TokenId id) { return vocabulary.types[id] == TokenType::user_defined; }),
      borders_(pieces.texts()),
      whole_pieces_(pieces.normal.size()) {
  for (std::size_t bytes = 1; bytes <= kMaxCharacterBytes; ++bytes)
    rules_.set_unknown(bytes, static_cast<TokenId>(token_count_ + bytes - 1));
  const auto is_character = [](std::string_view text) { return step_utf8(text).bytes == text.size(); };
  for (const Pieces::Piece& piece : pieces.normal)
    if (is_character(piece.text)) rules_.add_first_symbol(piece.text, piece.id);
  for (const std::string_view character : pieces.other_characters)
    rules_.add_first_symbol(character, *pieces.find_symbol(character));
  for (const Pieces::Rule& rule : pieces.rules)
    rules_.add_merge(rule.left, rule.right, {rule.merged->id, rule.merged->rank, rule.merged->text.size()});
  find_whole_pieces(pieces);
}

void SentencePieceEncoder::find_whole_pieces(const Pieces& pieces) {
  std::vector<TokenId> ids;
  for (const Pieces::Piece& piece : pieces.normal) {
    ids.clear();
    encode_parts(piece.text, ids);
    if (ids == std::vector{piece.id}) whole_pieces_.add(piece.text, piece.id);
  }
}

std::unique_ptr<Cutter> SentencePieceEncoder::make_cutter() const {
  return std::make_unique<PieceCutter>(borders_);
}

void SentencePieceEncoder::encode(std::string_view pre_token, std::vector<TokenId>& ids) const {
  if (const auto id = whole_pieces_.find(pre_token)) {
    ids.push_back(*id);
  } else {
    encode_parts(pre_token, ids);
  }
}

void SentencePieceEncoder::encode_parts(std::string_view pre_token, std::vector<TokenId>& ids) const {
  while (const auto match = user_defined_.find_first(pre_token)) {
    merge(pre_token.substr(0, match->offset), ids);
    ids.push_back(match->id);
    pre_token.remove_prefix(match->offset + match->bytes);
  }
  merge(pre_token, ids);
}

void SentencePieceEncoder::merge(std::string_view text, std::vector<TokenId>& ids) const {
  if (!is_valid_utf8(text)) {  // a single byte: PieceCutter
    append_bytes(text, ids);
    return;
  }
  std::vector<TokenId> symbols;
  rules_.merge(text, symbols);
  for (const TokenId symbol : symbols) {
    const std::size_t bytes = rules_.length(symbol);
    if (symbol < token_count_) {
      ids.push_back(symbol);
    } else {
      append_bytes(text.substr(0, bytes), ids);
    }
    text.remove_prefix(bytes);
  }
}

void SentencePieceEncoder::append_bytes(std::string_view text, std::vector<TokenId>& ids) const {
  for (const char byte : text) ids.push_back(byte_tokens_[static_cast<std::uint8_t>(byte)]);
}

}  // namespace rotulus::worker::tokenizer
