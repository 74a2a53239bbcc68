// What a file says about its tokenizer is read, or refused by the key that is wrong.
#include "worker/model/tokenizer/vocabulary.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <string>

#include "protocol/error.h"
#include "tests/support/gguf_builder.h"
#include "worker/model/gguf_file.h"

namespace rotulus::worker::tokenizer {
namespace {

using protocol::Error;
using protocol::ErrorCode;
using testing::ByteWriter;
using testing::GgufBuilder;
using testing::GgufType;

ByteWriter types(std::vector<std::int32_t> values) {
  ByteWriter writer;
  writer.number(GgufType::array).number(GgufType::i32).number<std::uint64_t>(values.size());
  for (const std::int32_t value : values) writer.number(value);
  return writer;
}

ByteWriter scores(const std::vector<float>& values) {
  ByteWriter writer;
  writer.number(GgufType::array).number(GgufType::f32).number<std::uint64_t>(values.size());
  for (const float value : values) writer.number(value);
  return writer;
}

// What good_file() leaves out or writes otherwise.
struct Change {
  std::string model = "gpt2";
  bool has_tokens = true;
  bool has_merges = true;
  bool has_pre = true;
  std::vector<std::int32_t> types = {1, 1, 1, 3};
  std::uint32_t eos = 3;
  std::vector<float> scores = {};
};

Vocabulary read(const Change& change) {
  GgufBuilder file;
  file.string("tokenizer.ggml.model", change.model);
  if (change.has_tokens) file.strings("tokenizer.ggml.tokens", {"a", "b", "ab", "<end>"});
  if (change.has_merges) file.strings("tokenizer.ggml.merges", {"a b"});
  if (change.has_pre) file.string("tokenizer.ggml.pre", "gpt-2");
  file.entry("tokenizer.ggml.token_type", types(change.types));
  if (!change.scores.empty()) file.entry("tokenizer.ggml.scores", scores(change.scores));
  file.u32("tokenizer.ggml.bos_token_id", 0).u32("tokenizer.ggml.eos_token_id", change.eos);
  file.u32("tokenizer.ggml.eot_token_id", 1);
  file.number("tokenizer.ggml.add_bos_token", GgufType::boolean, std::uint8_t{1});
  const auto bytes = file.build();
  return read_vocabulary(GgufFile::parse(bytes));
}

void expect_error(const Change& change, ErrorCode code, const std::string& named) {
  try {
    read(change);
    FAIL() << "no error naming " << named;
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.message();
    EXPECT_NE(error.message().find(named), std::string::npos) << error.message();
  }
}

TEST(Vocabulary, ReadsWhatTheFileSays) {
  const Vocabulary vocabulary = read({});
  EXPECT_EQ(vocabulary.tokens, (std::vector<std::string>{"a", "b", "ab", "<end>"}));
  EXPECT_EQ(vocabulary.types.back(), TokenType::control);
  EXPECT_EQ(vocabulary.merges, std::vector<std::string>{"a b"});
  EXPECT_EQ(vocabulary.pre_tokenizer, "gpt-2");
  EXPECT_EQ(vocabulary.bos, 0u);
  EXPECT_EQ(vocabulary.eos, 3u);
  EXPECT_EQ(vocabulary.other_ends, std::vector<TokenId>{1});
  EXPECT_EQ(vocabulary.add_bos, true);
}

TEST(Vocabulary, ReadsTheScoresOfPieces) {
  const Vocabulary vocabulary =
      read({.model = "llama", .has_merges = false, .has_pre = false, .scores = {-1, -2, 0.5, 0}});
  EXPECT_EQ(vocabulary.kind, VocabularyKind::sentence_piece);
  EXPECT_EQ(vocabulary.scores, (std::vector<float>{-1, -2, 0.5, 0}));
  EXPECT_TRUE(vocabulary.adds_space);
}

TEST(Vocabulary, KnowsTheBytesOfATokenByItsKindAndType) {
  const Vocabulary pieces = {
      .kind = VocabularyKind::sentence_piece,
      .tokens = {"\xE2\x96\x81"
                 "a\xE2\x96\x81",
                 "<0x0a>", "<0x0a>", "\xC4\xA0", "<\xE2\x96\x81>"},
      .types = {TokenType::normal, TokenType::byte, TokenType::normal, TokenType::user_defined, TokenType::control}};
  const std::vector<std::string> piece_bytes = {" a ", "\n", "<0x0a>", "\xC4\xA0", "<\xE2\x96\x81>"};
  const Vocabulary pairs = {
      .tokens = {"\xC4\xA0", "\xC4\xA0", "\xE5\xAD\x97", "\xC4\xA0"},
      .types = {TokenType::normal, TokenType::user_defined, TokenType::normal, TokenType::control}};
  const std::vector<std::string> pair_bytes = {" ", "\xC4\xA0", "\xE5\xAD\x97", "\xC4\xA0"};
  for (TokenId id = 0; id < piece_bytes.size(); ++id) EXPECT_EQ(token_bytes(pieces, id), piece_bytes[id]) << id;
  for (TokenId id = 0; id < pair_bytes.size(); ++id) EXPECT_EQ(token_bytes(pairs, id), pair_bytes[id]) << id;
}

TEST(Vocabulary, RefusesByTheKeyThatIsWrong) {
  expect_error({.model = "t5"}, ErrorCode::unsupported, "\"t5\"");
  expect_error({.model = "llama"}, ErrorCode::malformed_file, "tokenizer.ggml.scores");
  expect_error({.model = "llama", .scores = {0, 1}}, ErrorCode::malformed_file, "2 scores of 4 tokens");
  expect_error({.model = "llama", .scores = {0, 1, NAN, 0}}, ErrorCode::malformed_file, "of token 2");
  expect_error({.has_pre = false}, ErrorCode::unsupported, "tokenizer.ggml.pre");
  expect_error({.has_tokens = false}, ErrorCode::malformed_file, "tokenizer.ggml.tokens");
  expect_error({.has_merges = false}, ErrorCode::malformed_file, "tokenizer.ggml.merges");
  expect_error({.types = {1, 1, 1}}, ErrorCode::malformed_file, "3 types of 4 tokens");
  expect_error({.types = {1, 1, 1, 7}}, ErrorCode::malformed_file, "7 of token 3");
  expect_error({.types = {-1, 1, 1, 3}}, ErrorCode::malformed_file, "-1 of token 0");
  expect_error({.eos = 4}, ErrorCode::malformed_file, "eos_token_id: 4");
}

}  // namespace
}  // namespace rotulus::worker::tokenizer
