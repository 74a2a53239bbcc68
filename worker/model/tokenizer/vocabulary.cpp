#include "worker/model/tokenizer/vocabulary.h"

#include <fmt/format.h>

#include <string_view>
#include <utility>

#include "protocol/error.h"
#include "worker/model/gguf_file.h"

namespace rotulus::worker::tokenizer {
namespace {

using protocol::Error;
using protocol::ErrorCode;

// Token ids share their word with a mark in the merge loop.
constexpr std::size_t kMaxTokens = std::size_t{1} << 31;

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

}  // namespace

Vocabulary read_vocabulary(const GgufFile& file) {
  if (const auto model = file.require_string("tokenizer.ggml.model"); model != "gpt2")
    throw Error(ErrorCode::unsupported,
                fmt::format("tokenizer.ggml.model is \"{}\"; we have byte-level BPE (\"gpt2\") only", model));
  Vocabulary vocabulary;
  vocabulary.tokens = require_strings(file, "tokenizer.ggml.tokens");
  const std::size_t count = vocabulary.tokens.size();
  if (count == 0 || count >= kMaxTokens)
    throw Error(ErrorCode::malformed_file, fmt::format("tokenizer.ggml.tokens: {} tokens", count));
  vocabulary.types = read_types(file, count);
  vocabulary.merges = require_strings(file, "tokenizer.ggml.merges");
  const auto pre_tokenizer = file.find_string("tokenizer.ggml.pre");
  if (!pre_tokenizer)
    throw Error(ErrorCode::unsupported,
                "tokenizer.ggml.pre is absent: the file does not say how text is cut before merging");
  vocabulary.pre_tokenizer = *pre_tokenizer;
  vocabulary.bos = find_id(file, "tokenizer.ggml.bos_token_id", count);
  vocabulary.eos = find_id(file, "tokenizer.ggml.eos_token_id", count);
  for (const std::string_view key : {"tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"})
    if (const auto id = find_id(file, key, count)) vocabulary.other_ends.push_back(*id);
  vocabulary.add_bos = file.find_bool("tokenizer.ggml.add_bos_token");
  return vocabulary;
}

}  // namespace rotulus::worker::tokenizer
