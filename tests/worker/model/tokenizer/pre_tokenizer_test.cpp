// What each family's pattern does to text, case by case.
#include "worker/model/tokenizer/pre_tokenizer.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "worker/model/tokenizer/splitter.h"

namespace rotulus::worker::tokenizer {
namespace {

using Pieces = std::vector<std::string>;

Pieces split(const std::string& name, const std::string& text) {
  const PreTokenizer pre_tokenizer = make_pre_tokenizer(name);
  const SpecialTokenIndex no_tokens({}, [](TokenId) { return false; });
  Splitter splitter(pre_tokenizer, no_tokens);
  splitter.feed(text, true);
  Pieces pieces;
  while (const auto piece = splitter.next()) pieces.emplace_back(*piece);
  return pieces;
}

TEST(PreTokenizer, Gpt2CutsWordsNumbersSignsAndSpaces) {
  EXPECT_EQ(split("gpt-2", "We'll go  to 42nd, OK?\n\n ok "),
            (Pieces{"We", "'ll", " go", " ", " to", " 42", "nd", ",", " OK", "?", "\n\n", " ok", " "}));
  EXPECT_EQ(split("gpt-2", "IT'S"), (Pieces{"IT", "'", "S"}));
}

TEST(PreTokenizer, SmollmCutsEachDigitOutFirst) {
  // What stands before a digit is at the end of its piece: two spaces stay together.
  EXPECT_EQ(split("smollm", "a  12 b\xC2\xBD"), (Pieces{"a", "  ", "1", "2", " b", "\xC2\xBD"}));
}

TEST(PreTokenizer, Llama3CutsNumbersInThreesAndKeepsASignWithItsWord) {
  EXPECT_EQ(split("llama-bpe", "12345 (word)\n\n  x IT'S"),
            (Pieces{"123", "45", " (", "word", ")\n\n", " ", " x", " IT", "'S"}));
  EXPECT_EQ(split("llama-bpe", "'\xC5\xBF"), (Pieces{"'\xC5\xBF"}));  // long s is an s to a caseless pattern
}

TEST(PreTokenizer, Qwen2CutsEachDigit) {
  EXPECT_EQ(split("qwen2", "12#tag #\r\n!"), (Pieces{"1", "2", "#tag", " #\r\n", "!"}));
}

TEST(PreTokenizer, Gpt4oAndTekkenCutWordsWhereTheirCaseChanges) {
  EXPECT_EQ(split("gpt-4o", "HelloWorld ABC's 1234//\n x"),
            (Pieces{"Hello", "World", " ABC's", " ", "123", "4", "//\n", " x"}));
  EXPECT_EQ(split("tekken", "HelloWorld ABC's 12//\n"),
            (Pieces{"Hello", "World", " ABC", "'s", " ", "1", "2", "//\n"}));
}

TEST(PreTokenizer, DeepseekCutsHanAndSignsApart) {
  EXPECT_EQ(split("deepseek-llm", "Hello, w1234\xE5\xAD\x97x\n   "),
            (Pieces{"Hello", ",", " w", "1234", "\xE5\xAD\x97", "x", "\n", "   "}));
  EXPECT_EQ(split("deepseek-llm", "  x"), (Pieces{" ", " x"}));
  EXPECT_EQ(split("deepseek-coder", "f(x) 12\xE5\xAD\x97"),
            (Pieces{"f", "(", "x", ")", " ", "1", "2", "\xE5\xAD\x97"}));
  EXPECT_EQ(split("deepseek-v3", "#include 1234 \xE5\xAD\x97\xE3\x81\x82!\n"),
            (Pieces{"#include", " ", "123", "4", " ", "\xE5\xAD\x97\xE3\x81\x82", "!\n"}));
}

TEST(PreTokenizer, DefaultCutsSignsFirstAndNumbersInThrees) {
  EXPECT_EQ(split("default", "a,b 12345!?"), (Pieces{"a", ",", "b", " ", "123", "45", "!?"}));
}

TEST(PreTokenizer, TakesTheWhiteSpaceOfUnicodeAndNoOther) {
  for (const char* space : {"\t", "\v", "\f", "\xC2\x85", "\xC2\xA0", "\xE1\x9A\x80", "\xE2\x80\x8A", "\xE2\x80\xA8",
                            "\xE2\x81\x9F", "\xE3\x80\x80"})
    EXPECT_EQ(split("gpt-2", std::string("a") + space + "!"), (Pieces{"a", space, "!"})) << space;
  for (const char* other : {"\x1C", "\xE1\xA0\x8E", "\xE2\x80\x8B", "\xEF\xBB\xBF"})  // among them U+180E
    EXPECT_EQ(split("gpt-2", std::string("a") + other + "!"), (Pieces{"a", std::string(other) + "!"})) << other;
}

TEST(Splitter, MakesEachInvalidByteAPieceThatEndsTheTextBeforeIt) {
  EXPECT_EQ(split("gpt-2", "ab  \xFF\xFE  c\xE5\xAD"), (Pieces{"ab", "  ", "\xFF", "\xFE", " ", " c", "\xE5", "\xAD"}));
  EXPECT_EQ(split("smollm", "\xED\xA0\x80"), (Pieces{"\xED", "\xA0", "\x80"}));  // a surrogate
}

}  // namespace
}  // namespace rotulus::worker::tokenizer
