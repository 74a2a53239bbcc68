#include "worker/model/tokenizer/byte_pair_encoder.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <unordered_map>

#include "protocol/error.h"
#include "worker/model/tokenizer/byte_alphabet.h"
#include "worker/model/tokenizer/splitter.h"

namespace rotulus::worker::tokenizer {
namespace {

using protocol::Error;
using protocol::ErrorCode;

using IdByText = std::unordered_map<std::string_view, TokenId>;

TokenId require_token(const IdByText& ids, std::string_view text, std::size_t merge) {
  const auto found = ids.find(text);
  if (found == ids.end())
    throw Error(ErrorCode::malformed_file,
                fmt::format("tokenizer.ggml.merges: \"{}\" of merge {} is no token", text, merge));
  return found->second;
}

}  // namespace

BytePairEncoder::BytePairEncoder(const Vocabulary& vocabulary)
    : pre_tokenizer_(make_pre_tokenizer(vocabulary.pre_tokenizer)),
      user_defined_(vocabulary, [&](TokenId id) { return is_found_in_text(vocabulary, id); }),
      rules_(MergeRules::Unit::byte, vocabulary.tokens.size(), vocabulary.merges.size()),
      whole_tokens_(vocabulary.tokens.size()) {
  read_merges(vocabulary);
  find_whole_tokens(vocabulary);
}

void BytePairEncoder::read_merges(const Vocabulary& vocabulary) {
  IdByText ids;
  for (std::size_t id = 0; id < vocabulary.tokens.size(); ++id)
    ids.emplace(vocabulary.tokens[id], static_cast<TokenId>(id));
  for (int byte = 0; byte < 256; ++byte) {
    const auto found = ids.find(spell_byte(static_cast<std::uint8_t>(byte)));
    // A user-defined token is found in text as it is: DeepSeek's "ö" is the letter, not byte 0xF6.
    if (found == ids.end() || vocabulary.types[found->second] == TokenType::user_defined) {
      missing_bytes_ += static_cast<char>(byte);
    } else {
      rules_.add_first_symbol(std::string(1, static_cast<char>(byte)), found->second);
    }
  }
  for (std::size_t rank = 0; rank < vocabulary.merges.size(); ++rank) {
    const std::string_view text = vocabulary.merges[rank];
    const std::size_t space = text.find(' ', 1);  // no byte is spelled as a space
    if (space == std::string_view::npos)
      throw Error(ErrorCode::malformed_file, fmt::format("tokenizer.ggml.merges: merge {} is \"{}\"", rank, text));
    const std::string_view left_text = text.substr(0, space);
    const std::string_view right_text = text.substr(space + 1);
    const TokenId left = require_token(ids, left_text, rank);
    const TokenId right = require_token(ids, right_text, rank);
    const TokenId merged = require_token(ids, std::string(left_text) + std::string(right_text), rank);
    const auto bytes = spelled_bytes(vocabulary.tokens[merged]);
    rules_.add_merge(left, right, {merged, static_cast<std::uint32_t>(rank), bytes ? bytes->size() : 0});
  }
}

void BytePairEncoder::find_whole_tokens(const Vocabulary& vocabulary) {
  for (TokenId id = 0; id < vocabulary.tokens.size(); ++id)
    if (is_found_in_text(vocabulary, id)) whole_tokens_.add(vocabulary.tokens[id], id);
  std::vector<TokenId> ids;
  for (std::size_t id = 0; id < vocabulary.tokens.size(); ++id) {
    if (vocabulary.types[id] != TokenType::normal) continue;
    const auto bytes = spelled_bytes(vocabulary.tokens[id]);
    if (!bytes) continue;
    ids.clear();
    if (!pre_tokenizer_.whole_tokens_first) merge(*bytes, ids);
    if (pre_tokenizer_.whole_tokens_first || ids == std::vector{static_cast<TokenId>(id)})
      whole_tokens_.add(*bytes, static_cast<TokenId>(id));
  }
}

std::unique_ptr<Cutter> BytePairEncoder::make_cutter() const {
  return std::make_unique<Splitter>(pre_tokenizer_, user_defined_);
}

void BytePairEncoder::encode(std::string_view pre_token, std::vector<TokenId>& ids) const {
  if (const auto id = whole_tokens_.find(pre_token)) {
    ids.push_back(*id);
  } else {
    merge(pre_token, ids);
  }
}

void BytePairEncoder::merge(std::string_view bytes, std::vector<TokenId>& ids) const {
  const auto is_present = [&](char byte) { return missing_bytes_.find(byte) == std::string::npos; };
  std::string present;
  if (!missing_bytes_.empty() && !std::all_of(bytes.begin(), bytes.end(), is_present)) {
    std::copy_if(bytes.begin(), bytes.end(), std::back_inserter(present), is_present);
    bytes = present;
  }
  rules_.merge(bytes, ids);
}

}  // namespace rotulus::worker::tokenizer
