// Text becomes ids and bytes again, at once and in pieces, whatever the bytes: properties over random texts, and the
// cases in which a tokenizer's rules show. That the ids are the right ones is in token_oracle_test.cpp.
#include "worker/model/tokenizer.h"

#include <gtest/gtest.h>
#include <pthread.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "protocol/error.h"
#include "protocol/limits.h"
#include "tests/worker/model/byte_vocabulary.h"
#include "tests/worker/model/piece_vocabulary.h"
#include "tests/worker/model/text_generator.h"
#include "tests/worker/model/tokenizer_fixture.h"

namespace rotulus::worker {
namespace {

using protocol::Error;
using protocol::ErrorCode;
using protocol::kMaxPreTokenBytes;
using Ids = std::vector<TokenId>;

constexpr const char* kWithUserDefined = "gpt-2 with user-defined tokens";
constexpr const char* kPieces = "pieces";
constexpr const char* kPiecesAfterSpace = "pieces after a space";
const char* const kKinds[] = {"smollm", "gpt-2",           "default",       "llama-bpe",      "qwen2",
                              "gpt-4o", "tekken",          "deepseek-llm",  "deepseek-coder", "deepseek-v3",
                              kPieces,  kPiecesAfterSpace, kWithUserDefined};

tokenizer::Vocabulary small_pieces(bool adds_space) {
  using tokenizer::TokenType;
  const std::string s = "\xE2\x96\x81";
  return piece_vocabulary({{s, -90},
                           {"a", -90},
                           {"e", -90},
                           {"h", -90},
                           {"t", -90},
                           {"1", -90},
                           {"\xE5\xAD\x97", -90},
                           {"th", -1},
                           {"the", -3},
                           {s + "the", -4},
                           {s + "t", -2},
                           {"aa", -5},
                           {"aaaa", -6},
                           {s + s, -7},
                           {"\xE5\xAD\x97\xE5\xAD\x97", -8},
                           {"t's", -9},
                           {"\r\n", -9},
                           {"a" + s + "a", -9},
                           {"\n", 0, TokenType::user_defined},
                           {"\n\n", 0, TokenType::user_defined},
                           {"   ", 0, TokenType::user_defined},
                           {"<|im_start|>", 0, TokenType::control},
                           {"<|im_end|>", 0, TokenType::control},
                           {"<|im_end|>!", 0, TokenType::control}},
                          adds_space);
}

// Merges that make pieces of every kind of text, some of them listed before those that make their parts.
Tokenizer small_tokenizer(const std::string& pre_tokenizer) {
  if (pre_tokenizer == kWithUserDefined) {
    auto vocabulary = byte_vocabulary({"t h", "Ġ Ġ"}, "gpt-2", {"  ", "    ", "the", "\xC3\xA9", "<tool_call>"});
    std::fill(vocabulary.types.begin() + 258, vocabulary.types.end(), tokenizer::TokenType::user_defined);
    return Tokenizer(vocabulary);
  }
  if (pre_tokenizer == kPieces) return Tokenizer(small_pieces(false));
  if (pre_tokenizer == kPiecesAfterSpace) return Tokenizer(small_pieces(true));
  return Tokenizer(byte_vocabulary({"ab c", "a b", "t h", "th e", "Ġ the", "Ġ Ġ", "ĠĠ ĠĠ", "1 2", "Ċ Ċ", "! !", "Ã ©",
                                    "å Ń", "åŃ Ĺ", "' s", "a a", "aa aa", "aaaa aaaa"},
                                   pre_tokenizer, {"<|im_start|>", "<|im_end|>", "<|im_end|>!"}));
}

std::string without(std::string text, std::string_view bytes) {
  std::erase_if(text, [&](char byte) { return bytes.find(byte) != std::string_view::npos; });
  return text;
}

Ids encode_in_pieces(const Tokenizer& tokenizer, std::string_view text, const std::function<std::size_t()>& next_size) {
  Ids ids;
  TokenStream stream(tokenizer);
  while (!text.empty()) {
    const std::size_t size = std::min(next_size(), text.size());
    stream.append(text.substr(0, size), ids);
    text.remove_prefix(size);
  }
  stream.finish(ids);
  return ids;
}

std::optional<Error> error_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error;
  }
  return std::nullopt;
}

RC_GTEST_PROP(Tokenizer, DecodesWhatItEncoded, ()) {
  const std::string text = *any_text();
  const Tokenizer& model = model_tokenizer();
  RC_ASSERT(model.decode(model.encode(text)) == without(text, model.missing_bytes()));
  RC_ASSERT(model.decode(model.encode(text, SpecialTokens::parse), true) == without(text, model.missing_bytes()));
  for (const char* name : kKinds) {
    const Tokenizer tokenizer = small_tokenizer(name);
    RC_ASSERT(tokenizer.missing_bytes().empty());
    RC_ASSERT(tokenizer.decode(tokenizer.encode(text)) == text);
  }
}

RC_GTEST_PROP(TokenStream, GivesTheIdsOfOneShotEncodingForAnyPieces, ()) {
  const std::string text = *any_text();
  const auto longest = *rc::gen::elementOf(std::vector<std::size_t>{1, 2, 3, 7, 64, 1000});
  const auto size = [&] { return *rc::gen::inRange<std::size_t>(1, longest + 1); };
  RC_ASSERT(encode_in_pieces(model_tokenizer(), text, size) == model_tokenizer().encode(text));
  for (const char* name : kKinds) {
    const Tokenizer tokenizer = small_tokenizer(name);
    RC_ASSERT(encode_in_pieces(tokenizer, text, size) == tokenizer.encode(text));
  }
}

// Every cut of a text in which each alternative of each pattern looks behind its match.
TEST(TokenStream, GivesTheIdsOfOneShotEncodingForEveryCut) {
  const std::string text =
      "We'll  say 'it's'   1234 and\t\n\n  5\xC2\xBD\n \xE5\xAD\x97\xE5\xAD\x97 \xFF!!\r\n\r\n  x \xF0\x9F\x98 "
      "'\xC5\xBF \xCF\x80's  ";
  for (const char* name : kKinds) {
    const Tokenizer tokenizer = small_tokenizer(name);
    const Ids whole = tokenizer.encode(text);
    for (std::size_t first = 0; first <= text.size(); ++first) {
      for (std::size_t second = first; second <= text.size(); ++second) {
        Ids ids;
        TokenStream stream(tokenizer);
        stream.append(std::string_view(text).substr(0, first), ids);
        stream.append(std::string_view(text).substr(first, second - first), ids);
        stream.append(std::string_view(text).substr(second), ids);
        stream.finish(ids);
        ASSERT_EQ(ids, whole) << name << ", cut at " << first << " and " << second;
      }
    }
  }
}

TEST(TokenStream, GivesTheIdsOfOneShotEncodingForWindowsUpToAMebibyte) {
  std::string text;
  const std::vector<std::string> words = {"In the beginning",           " God created", " 1984", "\n\n",
                                          "  \xE5\xAD\x97\xE5\xAD\x97", "don't",        "!?",    "\xFF"};
  for (std::size_t i = 0; text.size() < (3u << 20); i = i * 31 + 7) text += words[i % words.size()];
  text += std::string(300'000, ' ') + std::string(300'000, 'z');
  const Ids whole = model_tokenizer().encode(text);
  for (const std::size_t window : {std::size_t{1}, std::size_t{4093}, std::size_t{65536}, std::size_t{1} << 20})
    EXPECT_EQ(encode_in_pieces(model_tokenizer(), text, [=] { return window; }), whole) << window;
}

TEST(TokenStream, HoldsBackNoMoreThanIsUndecided) {
  Ids ids;
  TokenStream stream(model_tokenizer());
  for (int i = 0; i < 1000; ++i) stream.append("and God said, ", ids);
  EXPECT_GE(model_tokenizer().decode(ids).size(), 14000u - 14u);
  stream.finish(ids);
  stream.append("again", ids);  // a finished stream begins anew
  stream.finish(ids);
  EXPECT_TRUE(model_tokenizer().decode(ids).ends_with("said, again"));
}

// A vocabulary that puts a space before text does so once: at the beginning and after special tokens, not where text
// goes on.
TEST(TokenStream, PutsASpaceBeforeTheBeginningOfText) {
  const Tokenizer tokenizer = small_tokenizer(kPiecesAfterSpace);
  const TokenId special = *tokenizer.find_special("<|im_end|>");
  const Ids the = tokenizer.encode("the");
  ASSERT_EQ(the.size(), 1u);
  EXPECT_EQ(tokenizer.bytes(the[0]), " the");
  EXPECT_EQ(tokenizer.decode(the), "the");
  const Ids bare = tokenizer.encode("the", SpecialTokens::as_text, TextStart::continuation);
  ASSERT_EQ(bare.size(), 1u);
  EXPECT_EQ(tokenizer.bytes(bare[0]), "the");
  EXPECT_EQ(tokenizer.encode(""), Ids{});

  Ids ids;
  TokenStream stream(tokenizer, TextStart::continuation);
  stream.append("", ids);
  stream.append("the", ids);
  stream.append_special(special, ids);
  stream.append("the", ids);
  stream.append("", ids);
  stream.finish(ids);
  EXPECT_EQ(ids, (Ids{bare[0], special, the[0]}));
}

TEST(TokenStream, EndsTheTextBeforeASpecialToken) {
  const Tokenizer& tokenizer = model_tokenizer();
  const TokenId special = *tokenizer.find_special("<|im_end|>");
  Ids ids;
  TokenStream stream(tokenizer);
  stream.append("x ", ids);
  stream.append_special(special, ids);
  stream.append(" y", ids);
  stream.finish(ids);
  EXPECT_EQ(ids, tokenizer.encode("x <|im_end|> y", SpecialTokens::parse));
}

TEST(Tokenizer, LimitsThePreTokenAndNamesItsOffset) {
  const Tokenizer tokenizer(byte_vocabulary({}, "gpt-2"));
  std::string text = "begin 12";
  const std::size_t offset = text.size();
  text.append(kMaxPreTokenBytes, 'a');
  text += "!";
  EXPECT_EQ(encode_in_pieces(tokenizer, text, [] { return std::size_t{1} << 20; }), tokenizer.encode(text));

  text.insert(offset, 1, 'a');
  const auto at_once = error_of([&] { tokenizer.encode(text); });
  const auto streamed = error_of([&] { encode_in_pieces(tokenizer, text, [] { return std::size_t{1} << 20; }); });
  ASSERT_TRUE(at_once && streamed);
  EXPECT_EQ(at_once->code(), ErrorCode::invalid_argument);
  EXPECT_EQ(at_once->message(), streamed->message());
  EXPECT_NE(at_once->message().find("at byte " + std::to_string(offset)), std::string::npos) << at_once->message();
}

// A stream has to give up on text that never ends, with no more of it in memory than the limit.
TEST(TokenStream, GivesUpOnTextThatCannotBeCut) {
  TokenStream stream(model_tokenizer());
  Ids ids;
  const std::string piece(1u << 20, ' ');
  std::size_t pieces = 0;
  const auto error = error_of([&] {
    for (; pieces < 70; ++pieces) stream.append(piece, ids);
  });
  ASSERT_TRUE(error);
  EXPECT_NE(error->message().find("at byte 0 "), std::string::npos) << error->message();
  EXPECT_EQ(pieces, kMaxPreTokenBytes / piece.size());
}

// Long runs of one character of every class, on a stack of 256 KiB.
TEST(Tokenizer, EncodesLongRunsOnASmallStack) {
  const auto encode_runs = [](void*) -> void* {
    const std::vector<std::string> characters = {"Z",
                                                 "e",
                                                 "7",
                                                 " ",
                                                 "\n",
                                                 "\t",
                                                 ".",
                                                 "=",
                                                 "\xC3\xA9",
                                                 "\xE5\xAD\x97",
                                                 "\xCC\x81",
                                                 "\xF0\x9F\x98\x80",
                                                 std::string(1, '\0'),
                                                 "\xFF",
                                                 "\xC2\x80",
                                                 "\xED\xA0\x80",
                                                 "'",
                                                 "ab",
                                                 " a"};
    for (const char* name : {"", "default", "llama-bpe", "qwen2", "pieces"}) {
      for (const std::string& character : characters) {
        std::string text;
        while (text.size() < (*name == '\0' ? 1u << 20 : 1u << 18)) text += character;
        std::optional<Tokenizer> small;
        if (name == std::string(kPieces))
          small.emplace(piece_vocabulary({{character, -2}, {character + character, -1}}, false));
        else if (*name != '\0')
          small.emplace(byte_vocabulary({"Z Z", "ZZ ZZ"}, name));
        const Tokenizer& tokenizer = small ? *small : model_tokenizer();
        EXPECT_EQ(tokenizer.decode(tokenizer.encode(text)), without(text, tokenizer.missing_bytes()))
            << name << character;
      }
    }
    return nullptr;
  };
  model_tokenizer();
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, 256u << 10);
  pthread_t thread{};
  ASSERT_EQ(pthread_create(&thread, &attributes, encode_runs, nullptr), 0);
  pthread_join(thread, nullptr);
  pthread_attr_destroy(&attributes);
}

TEST(Tokenizer, NeverParsesSpecialTokensOutOfTextUnlessAsked) {
  const Tokenizer& tokenizer = model_tokenizer();
  const TokenId end = *tokenizer.find_special("<|im_end|>");
  const Ids as_text = tokenizer.encode("a<|im_end|>b");
  EXPECT_EQ(std::count(as_text.begin(), as_text.end(), end), 0);
  EXPECT_EQ(tokenizer.decode(as_text), "a<|im_end|>b");
  const Ids parsed = tokenizer.encode("a<|im_end|>b", SpecialTokens::parse);
  ASSERT_EQ(parsed.size(), 3u);
  EXPECT_EQ(parsed[1], end);
  EXPECT_EQ(tokenizer.decode(parsed), "ab");
  EXPECT_EQ(tokenizer.decode(parsed, true), "a<|im_end|>b");
}

TEST(Tokenizer, FindsTheLeftmostAndLongestSpecialToken) {
  const Tokenizer tokenizer = small_tokenizer("gpt-2");
  const auto match = tokenizer.find_first_special("x<|im_<|im_end|>!<|im_start|>");
  ASSERT_TRUE(match);
  EXPECT_EQ(match->offset, 6u);
  EXPECT_EQ(match->bytes, 11u);
  EXPECT_EQ(match->id, tokenizer.find_special("<|im_end|>!"));
  EXPECT_FALSE(tokenizer.find_first_special("<|im_|>"));
  EXPECT_FALSE(tokenizer.find_special("<|im"));
  EXPECT_FALSE(tokenizer.find_special("a"));
}

// What a vocabulary's makers defined is found in text, but not what looks like markup; and it is no byte.
TEST(Tokenizer, FindsUserDefinedTokensInTextButNoMarks) {
  const Tokenizer tokenizer = small_tokenizer(kWithUserDefined);
  const TokenId two = 258, four = 259, the = 260, e_acute = 261;
  EXPECT_EQ(tokenizer.encode("       the\xC3\xA9!"), (Ids{four, two, ' ', the, e_acute, '!'}));
  EXPECT_EQ(tokenizer.encode("<tool_call>").size(), 11u);
  EXPECT_EQ(tokenizer.encode("<tool_call>", SpecialTokens::parse), Ids{262});
  EXPECT_EQ(tokenizer.missing_bytes(), "");

  auto vocabulary = byte_vocabulary({}, "gpt-2");
  vocabulary.types[0xE9] = tokenizer::TokenType::user_defined;
  EXPECT_EQ(Tokenizer(vocabulary).missing_bytes(), "\xE9");
  EXPECT_EQ(Tokenizer(vocabulary).encode("\xC3\xA9"), Ids{0xE9});
}

TEST(Tokenizer, KnowsTheEndsOfAnAnswer) {
  const Tokenizer& tokenizer = model_tokenizer();
  EXPECT_EQ(tokenizer.vocabulary_size(), 49152u);
  EXPECT_EQ(tokenizer.eos(), tokenizer.find_special("<|im_end|>"));
  EXPECT_EQ(tokenizer.bos(), std::nullopt);  // the file names one and says not to add it
  EXPECT_TRUE(tokenizer.ends_generation(*tokenizer.find_special("<|im_end|>")));
  EXPECT_TRUE(tokenizer.ends_generation(*tokenizer.find_special("<|endoftext|>")));
  EXPECT_FALSE(tokenizer.ends_generation(*tokenizer.find_special("<|im_start|>")));
  EXPECT_FALSE(tokenizer.ends_generation(tokenizer.encode("a")[0]));
  EXPECT_FALSE(tokenizer.ends_generation(UINT32_MAX));

  auto vocabulary = byte_vocabulary({}, "gpt-2", {"<end_of_turn>", "<other>"});
  vocabulary.eos = 65;
  vocabulary.other_ends = {66};
  const Tokenizer named(vocabulary);
  EXPECT_TRUE(named.ends_generation(65) && named.ends_generation(66) && named.ends_generation(256));
  EXPECT_FALSE(named.ends_generation(67) || named.ends_generation(257));
}

TEST(Tokenizer, AddsBosWhereTheFileOrItsPreTokenizerAsks) {
  auto vocabulary = byte_vocabulary({}, "gpt-2");
  vocabulary.bos = 7;
  EXPECT_EQ(Tokenizer(vocabulary).bos(), std::nullopt);
  vocabulary.add_bos = true;
  EXPECT_EQ(Tokenizer(vocabulary).bos(), 7u);
  vocabulary.pre_tokenizer = "llama-bpe";
  vocabulary.add_bos.reset();
  EXPECT_EQ(Tokenizer(vocabulary).bos(), 7u);
  vocabulary.add_bos = false;
  EXPECT_EQ(Tokenizer(vocabulary).bos(), std::nullopt);
}

TEST(Tokenizer, RefusesAnIdOutsideTheVocabulary) {
  const auto error = error_of([] { model_tokenizer().decode({0, 49152}); });
  ASSERT_TRUE(error);
  EXPECT_EQ(error->code(), ErrorCode::invalid_argument);
  EXPECT_NE(error->message().find("49152"), std::string::npos);
}

TEST(Tokenizer, RefusesAnUnknownPreTokenizerByItsNameAndOffersThoseWeHave) {
  const auto error = error_of([] { Tokenizer(byte_vocabulary({}, "kimi-k2")); });
  ASSERT_TRUE(error);
  EXPECT_EQ(error->code(), ErrorCode::unsupported);
  EXPECT_NE(error->message().find("kimi-k2"), std::string::npos);
  EXPECT_NE(error->message().find("smollm"), std::string::npos);
}

TEST(Tokenizer, RefusesMergesOfWhatIsNoToken) {
  for (const std::string merge : {"a zz", "zz a", "a b", "ab", ""}) {
    auto vocabulary = byte_vocabulary({}, "gpt-2");
    vocabulary.merges = {merge};
    const auto error = error_of([&] { Tokenizer tokenizer(vocabulary); });
    ASSERT_TRUE(error) << merge;
    EXPECT_EQ(error->code(), ErrorCode::malformed_file);
  }
}

// A vocabulary without some bytes leaves them out, and what stood beside them may merge, as in `tokenizers`.
TEST(Tokenizer, LeavesOutBytesThatTheVocabularyLacks) {
  const Tokenizer& tokenizer = model_tokenizer();
  EXPECT_EQ(tokenizer.missing_bytes(),
            "\x04\x06\x13\x14\x16\x1D\xC0\xC1\xF1\xF2\xF5\xF6\xF7\xF8\xF9\xFA\xFB\xFC\xFD\xFE\xFF");
  EXPECT_EQ(tokenizer.encode("!\x04!"), tokenizer.encode("!!"));
  EXPECT_EQ(tokenizer.encode("\x04"), Ids{});
}

}  // namespace
}  // namespace rotulus::worker
