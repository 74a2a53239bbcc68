#include "worker/model/tokenizer/vocabulary.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <string_view>
#include <utility>

#include "protocol/error.h"
#include "worker/model/gguf_file.h"
#include "worker/model/tokenizer/byte_alphabet.h"

namespace rotulus::worker::tokenizer {
namespace {

using protocol::Error;
using protocol::ErrorCode;

// Symbols, of which tokens are the most, share their word with a mark in the merge loop.
constexpr std::size_t kMaxTokens = std::size_t{1} << 30;

const GgufArray* find_array(const GgufFile& file, std::string_view key) {
  const auto found = file.metadata().find(key);
  return found == file.metadata().end() ? nullptr : std::get_if<GgufArray>(&found->second);
}

std::vector<std::string> require_strings(const GgufFile& file, std::string_view key) {
  const GgufArray* array = find_array(file, key);
  const auto* strings = array == nullptr ? nullptr : std::get_if<std::vector<std::string_view>>(array);
  if (strings == nullptr) throw Error(ErrorCode::malformed_file, fmt::format("{}: absent, or not strings", key));
  return {strings->begin(), strings->end()};
}

TokenType checked_type(std::int64_t value, std::size_t token) {
  if (value < static_cast<int>(TokenType::normal) || value > static_cast<int>(TokenType::byte))
    throw Error(ErrorCode::malformed_file, fmt::format("tokenizer.ggml.token_type: {} of token {}", value, token));
  return static_cast<TokenType>(value);
}

std::vector<TokenType> read_types(const GgufFile& file, std::size_t tokens) {
  constexpr std::string_view kKey = "tokenizer.ggml.token_type";
  const GgufArray* array = find_array(file, kKey);
  if (array == nullptr) return std::vector(tokens, TokenType::normal);
  std::vector<TokenType> types;
  if (const auto* values = std::get_if<std::vector<std::int64_t>>(array)) {
    for (const std::int64_t value : *values) types.push_back(checked_type(value, types.size()));
  } else if (const auto* unsigned_values = std::get_if<std::vector<std::uint64_t>>(array)) {
    for (const std::uint64_t value : *unsigned_values)
      types.push_back(checked_type(static_cast<std::int64_t>(value), types.size()));
  } else {
    throw Error(ErrorCode::malformed_file, fmt::format("{}: not integers", kKey));
  }
  if (types.size() != tokens)
    throw Error(ErrorCode::malformed_file, fmt::format("{}: {} types of {} tokens", kKey, types.size(), tokens));
  return types;
}

std::optional<TokenId> find_id(const GgufFile& file, std::string_view key, std::size_t tokens) {
  const auto id = file.find_unsigned(key);
  if (!id) return std::nullopt;
  if (*id >= tokens)
    throw Error(ErrorCode::malformed_file, fmt::format("{}: {} is not one of {} tokens", key, *id, tokens));
  return static_cast<TokenId>(*id);
}

VocabularyKind read_kind(const GgufFile& file) {
  const auto model = file.require_string("tokenizer.ggml.model");
  if (model == "gpt2") return VocabularyKind::byte_pair;
  if (model == "llama") return VocabularyKind::sentence_piece;
  throw Error(ErrorCode::unsupported,
              fmt::format("tokenizer.ggml.model is \"{}\"; we have \"gpt2\" (byte-level BPE) and \"llama\" "
                          "(SentencePiece's BPE with scores)",
                          model));
}

std::vector<float> read_scores(const GgufFile& file, std::size_t tokens) {
  constexpr std::string_view kKey = "tokenizer.ggml.scores";
  const GgufArray* array = find_array(file, kKey);
  const auto* values = array == nullptr ? nullptr : std::get_if<std::vector<double>>(array);
  if (values == nullptr) throw Error(ErrorCode::malformed_file, fmt::format("{}: absent, or not floats", kKey));
  if (values->size() != tokens)
    throw Error(ErrorCode::malformed_file, fmt::format("{}: {} scores of {} tokens", kKey, values->size(), tokens));
  for (std::size_t token = 0; token < tokens; ++token)
    if (!std::isfinite((*values)[token]))
      throw Error(ErrorCode::malformed_file, fmt::format("{}: {} of token {}", kKey, (*values)[token], token));
  return {values->begin(), values->end()};
}

void read_byte_pair(const GgufFile& file, Vocabulary& vocabulary) {
  vocabulary.merges = require_strings(file, "tokenizer.ggml.merges");
  const auto pre_tokenizer = file.find_string("tokenizer.ggml.pre");
  if (!pre_tokenizer)
    throw Error(ErrorCode::unsupported,
                "tokenizer.ggml.pre is absent: the file does not say how text is cut before merging");
  vocabulary.pre_tokenizer = *pre_tokenizer;
}

void read_sentence_piece(const GgufFile& file, Vocabulary& vocabulary) {
  vocabulary.scores = read_scores(file, vocabulary.tokens.size());
  vocabulary.adds_space = file.find_bool("tokenizer.ggml.add_space_prefix").value_or(true);
  vocabulary.swallows_space = file.find_string("general.architecture") == "phi3";
  if (file.find_bool("tokenizer.ggml.remove_extra_whitespaces").value_or(false))
    throw Error(ErrorCode::unsupported,
                "tokenizer.ggml.remove_extra_whitespaces is true: white space of a document would be lost");
}

// The byte of "<0x0A>".
std::optional<char> named_byte(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || !token.ends_with('>')) return std::nullopt;
  std::uint8_t byte = 0;
  const char* end = token.data() + 5;
  const auto read = std::from_chars(token.data() + 3, end, byte, 16);
  return read.ec == std::errc() && read.ptr == end ? std::optional(static_cast<char>(byte)) : std::nullopt;
}

std::string with_spaces(std::string_view piece) {
  constexpr std::string_view kSpace = "\xE2\x96\x81";  // U+2581
  std::string text;
  for (std::size_t i = 0; i < piece.size();) {
    const bool is_space = piece.substr(i).starts_with(kSpace);
    text += is_space ? ' ' : piece[i];
    i += is_space ? kSpace.size() : 1;
  }
  return text;
}

}  // namespace

Vocabulary read_vocabulary(const GgufFile& file) {
  Vocabulary vocabulary{.kind = read_kind(file)};
  vocabulary.tokens = require_strings(file, "tokenizer.ggml.tokens");
  const std::size_t count = vocabulary.tokens.size();
  if (count == 0 || count >= kMaxTokens)
    throw Error(ErrorCode::malformed_file, fmt::format("tokenizer.ggml.tokens: {} tokens", count));
  vocabulary.types = read_types(file, count);
  if (vocabulary.kind == VocabularyKind::byte_pair) {
    read_byte_pair(file, vocabulary);
  } else {
    read_sentence_piece(file, vocabulary);
  }
  vocabulary.bos = find_id(file, "tokenizer.ggml.bos_token_id", count);
  vocabulary.eos = find_id(file, "tokenizer.ggml.eos_token_id", count);
  for (const std::string_view key : {"tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"})
    if (const auto id = find_id(file, key, count)) vocabulary.other_ends.push_back(*id);
  vocabulary.add_bos = file.find_bool("tokenizer.ggml.add_bos_token");
  return vocabulary;
}

std::string token_bytes(const Vocabulary& vocabulary, TokenId id) {
  const std::string& token = vocabulary.tokens[id];
  const TokenType type = vocabulary.types[id];
  if (type == TokenType::control || type == TokenType::unknown) return token;
  if (vocabulary.kind == VocabularyKind::sentence_piece) {
    if (type == TokenType::byte) {
      if (const auto byte = named_byte(token)) return {*byte};
    }
    return with_spaces(token);
  }
  if (type == TokenType::user_defined || type == TokenType::byte) return token;
  return spelled_bytes(token).value_or(token);
}

bool is_found_in_text(const Vocabulary& vocabulary, TokenId id) {
  if (vocabulary.types[id] != TokenType::user_defined) return false;
  if (vocabulary.kind == VocabularyKind::sentence_piece) return true;
  const std::string& text = vocabulary.tokens[id];
  const bool is_mark = (text.starts_with('<') && text.ends_with('>')) || (text.starts_with('[') && text.ends_with(']'));
  return !is_mark;
}

}  // namespace rotulus::worker::tokenizer
