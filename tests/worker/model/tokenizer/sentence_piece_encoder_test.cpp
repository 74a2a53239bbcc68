// Pieces against the definition: merge the leftmost pair of the best score, again and again; and the places where text
// is cut change nothing.
#include "worker/model/tokenizer/sentence_piece_encoder.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "protocol/error.h"
#include "tests/worker/model/piece_vocabulary.h"
#include "worker/model/tokenizer/long_merge.h"

namespace rotulus::worker::tokenizer {
namespace {

using Ids = std::vector<TokenId>;
using protocol::Error;
using protocol::ErrorCode;

// Text in letters of one and two bytes.
const std::vector<std::string> kLetters = {"a", "b", "c", " ", "\xC3\xA9"};

std::vector<std::string> letters_of(const std::string& text) {
  std::vector<std::string> letters;
  for (std::size_t i = 0; i < text.size(); i += letters.back().size())
    letters.push_back(text.substr(i, text[i] == '\xC3' ? 2 : 1));
  return letters;
}

Ids merge_as_defined(const Vocabulary& vocabulary, const std::string& text) {
  std::map<std::string, TokenId> ids;
  for (std::size_t id = kFirstPiece; id < vocabulary.tokens.size(); ++id)
    ids.emplace(token_bytes(vocabulary, static_cast<TokenId>(id)), static_cast<TokenId>(id));
  std::vector<std::string> symbols = letters_of(text);
  while (true) {
    std::optional<std::size_t> best;
    float best_score = 0;
    for (std::size_t i = 0; i + 1 < symbols.size(); ++i) {
      const auto merged = ids.find(symbols[i] + symbols[i + 1]);
      if (merged == ids.end()) continue;
      const float score = vocabulary.scores[merged->second];
      if (best && score <= best_score) continue;
      best = i;
      best_score = score;
    }
    if (!best) break;
    symbols[*best] += symbols[*best + 1];
    symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(*best) + 1);
  }
  Ids result;
  for (const std::string& symbol : symbols) {
    if (const auto id = ids.find(symbol); id != ids.end()) {
      result.push_back(id->second);
    } else {
      for (const char byte : symbol) result.push_back(static_cast<std::uint8_t>(byte));
    }
  }
  return result;
}

rc::Gen<std::string> text_of_letters(std::size_t shortest, std::size_t longest) {
  const auto join = [](const std::vector<std::string>& letters) {
    std::string text;
    for (const std::string& letter : letters) text += letter;
    return text;
  };
  return rc::gen::mapcat(rc::gen::inRange(shortest, longest + 1), [join](std::size_t count) {
    return rc::gen::map(rc::gen::container<std::vector<std::string>>(count, rc::gen::elementOf(kLetters)), join);
  });
}

// Random pieces with random scores, some of them equal; letters that are no pieces, pieces whose parts are none.
Vocabulary random_vocabulary() {
  std::vector<ScoredPiece> pieces;
  for (const std::string& letter : kLetters)
    if (*rc::gen::inRange(0, 5) > 0) pieces.push_back({letter, -100});
  for (int count = *rc::gen::inRange(0, 16); count > 0; --count) {
    const std::string text = *text_of_letters(2, 5);
    const bool is_there =
        std::any_of(pieces.begin(), pieces.end(), [&](const auto& piece) { return piece.text == text; });
    if (!is_there) pieces.push_back({text, -static_cast<float>(*rc::gen::inRange(1, 12))});
  }
  return piece_vocabulary(pieces, false);
}

Ids encode_whole(const SentencePieceEncoder& encoder, const std::string& text) {
  Ids ids;
  encoder.encode(text, ids);
  return ids;
}

Ids encode_cut(const SentencePieceEncoder& encoder, const std::string& text) {
  Ids ids;
  const auto cutter = encoder.make_cutter();
  cutter->feed(text, true);
  while (const auto piece = cutter->next()) encoder.encode(*piece, ids);
  return ids;
}

RC_GTEST_PROP(SentencePieceEncoder, MergesAsDefinedWhereverTextIsCut, ()) {
  const Vocabulary vocabulary = random_vocabulary();
  const std::string text = *text_of_letters(0, 200);
  const SentencePieceEncoder encoder(vocabulary);
  const Ids expected = merge_as_defined(vocabulary, text);
  RC_ASSERT(encode_whole(encoder, text) == expected);
  RC_ASSERT(encode_cut(encoder, text) == expected);
}

// The letters are pieces, so that ids are symbols.
RC_GTEST_PROP(LongMerge, JoinsSegmentsOfCharactersToWhatTheWholeGives, ()) {
  std::vector<ScoredPiece> pieces;
  for (const std::string& letter : kLetters) pieces.push_back({letter, -100});
  MergeRules rules(MergeRules::Unit::character, 64, 64);
  const std::vector<std::pair<std::string, std::string>> merges = {
      {"a", "b"}, {"\xC3\xA9", "a"}, {"ab", "ab"}, {" ", "\xC3\xA9"}, {"a", "a"}, {"aa", "\xC3\xA9"}};
  std::map<std::string, TokenId> ids;
  for (const std::string& letter : kLetters) {
    rules.add_first_symbol(letter, static_cast<TokenId>(ids.size()));
    ids.emplace(letter, static_cast<TokenId>(ids.size()));
  }
  const std::uint32_t ranks = *rc::gen::inRange<std::uint32_t>(1, 4);  // several merges of one rank
  for (std::uint32_t i = 0; i < merges.size(); ++i) {
    const auto& [left, right] = merges[i];
    const auto id = static_cast<TokenId>(ids.size());
    rules.add_merge(ids.at(left), ids.at(right), {id, i % ranks, left.size() + right.size()});
    ids.emplace(left + right, id);
  }
  const std::string text = *text_of_letters(1, 64 / 2);
  Ids expected;
  rules.merge(text, expected);  // short enough for the simple loop
  Ids joined;
  merge_long(rules, text, *rc::gen::inRange<std::size_t>(1, 40), joined);
  RC_ASSERT(joined == expected);
}

TEST(SentencePieceEncoder, FindsUserDefinedPiecesBeforeItMerges) {
  const SentencePieceEncoder encoder(piece_vocabulary({{"a", -9},
                                                       {"b", -9},
                                                       {"ab", -1},
                                                       {"\n\n", 0, TokenType::user_defined},
                                                       {"\n\n\n", 0, TokenType::user_defined},
                                                       {"b<", 0, TokenType::user_defined}},
                                                      false));
  const TokenId a = kFirstPiece, ab = a + 2, two_lines = a + 3, three_lines = a + 4, b_sign = a + 5;
  EXPECT_EQ(encode_cut(encoder, "ab\n\n\n\n\nab"), (Ids{ab, three_lines, two_lines, ab}));
  EXPECT_EQ(encode_cut(encoder, "ab<"), (Ids{a, b_sign}));
  EXPECT_EQ(encode_cut(encoder, "\n"), (Ids{'\n'}));
}

TEST(SentencePieceEncoder, TurnsWhatIsNoPieceIntoItsBytes) {
  const SentencePieceEncoder encoder(
      piece_vocabulary({{"\xE2\x96\x81", -1}, {"x", -1}, {"<0x41>", -1}, {"<s>", 0, TokenType::control}}, false));
  const TokenId space = kFirstPiece, x = space + 1;
  EXPECT_EQ(encode_cut(encoder, "x \xE5\xAD\x97x"), (Ids{x, space, 0xE5, 0xAD, 0x97, x}));
  EXPECT_EQ(encode_cut(encoder, "x\xFF\xE5\xADx"), (Ids{x, 0xFF, 0xE5, 0xAD, x}));
  EXPECT_EQ(encode_cut(encoder, "\xE2\x96\x81"), (Ids{0xE2, 0x96, 0x81}));  // it would come back as a space
  EXPECT_EQ(encode_cut(encoder, "<s>"), (Ids{'<', 's', '>'}));
}

TEST(SentencePieceEncoder, CutsWhereNoPieceHasTheTwoCharacters) {
  const SentencePieceEncoder encoder(piece_vocabulary({{"\xE2\x96\x81"
                                                        "ab",
                                                        -1},
                                                       {"\xE2\x96\x81"
                                                        "a",
                                                        -1},
                                                       {"\xC3\xA9"
                                                        "b",
                                                        -1}},
                                                      false));
  const auto cutter = encoder.make_cutter();
  cutter->feed(
      " ab abb\xC3\xA9"
      "b\xC3\xA9",
      true);
  std::vector<std::string> pieces;
  while (const auto piece = cutter->next()) pieces.emplace_back(*piece);
  EXPECT_EQ(pieces, (std::vector<std::string>{" ab", " ab", "b",
                                              "\xC3\xA9"
                                              "b",
                                              "\xC3\xA9"}));
}

TEST(SentencePieceEncoder, RefusesAVocabularyThatLacksAByte) {
  Vocabulary vocabulary = piece_vocabulary({}, false);
  vocabulary.types[0x0A] = TokenType::normal;
  try {
    SentencePieceEncoder encoder(vocabulary);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::unsupported);
    EXPECT_NE(error.message().find("<0x0A>"), std::string::npos) << error.message();
  }
}

}  // namespace
}  // namespace rotulus::worker::tokenizer
