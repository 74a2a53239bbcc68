#include "worker/model/tokenizer/byte_pair_encoder.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <functional>
#include <unordered_map>

#include "protocol/error.h"
#include "worker/model/tokenizer/byte_alphabet.h"
#include "worker/model/tokenizer/long_merge.h"

namespace rotulus::worker::tokenizer {
namespace {

using protocol::Error;
using protocol::ErrorCode;

using IdByText = std::unordered_map<std::string_view, TokenId>;

constexpr std::uint64_t pair_of(TokenId left, TokenId right) {
  return std::uint64_t{left} << 32 | right;
}

std::uint32_t hash_of(std::string_view bytes) {
  return static_cast<std::uint32_t>(std::hash<std::string_view>{}(bytes));
}

TokenId require_token(const IdByText& ids, std::string_view text, std::size_t merge) {
  const auto found = ids.find(text);
  if (found == ids.end())
    throw Error(ErrorCode::malformed_file,
                fmt::format("tokenizer.ggml.merges: \"{}\" of merge {} is no token", text, merge));
  return found->second;
}

}  // namespace

BytePairEncoder::BytePairEncoder(const Vocabulary& vocabulary, bool whole_tokens_first)
    : lengths_(vocabulary.tokens.size()) {
  read_merges(vocabulary);
  find_whole_tokens(vocabulary, whole_tokens_first);
}

void BytePairEncoder::read_merges(const Vocabulary& vocabulary) {
  IdByText ids;
  for (std::size_t id = 0; id < vocabulary.tokens.size(); ++id)
    ids.emplace(vocabulary.tokens[id], static_cast<TokenId>(id));
  for (int byte = 0; byte < 256; ++byte) {
    const auto found = ids.find(spell_byte(static_cast<std::uint8_t>(byte)));
    if (found == ids.end()) {
      missing_bytes_ += static_cast<char>(byte);
    } else {
      byte_tokens_[byte] = found->second;
      lengths_[found->second] = 1;
    }
  }
  merges_.resize(std::bit_ceil(2 * vocabulary.merges.size() + 1));
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
    Merge& merge = merges_[merge_slot(pair_of(left, right))];
    if (merge.rank == kNoRank) merge = {pair_of(left, right), static_cast<std::uint32_t>(rank), merged};
    if (const auto bytes = spelled_bytes(vocabulary.tokens[merged]); bytes)
      lengths_[merged] = static_cast<std::uint32_t>(bytes->size());
  }
}

void BytePairEncoder::find_whole_tokens(const Vocabulary& vocabulary, bool all) {
  whole_tokens_.resize(std::bit_ceil(2 * vocabulary.tokens.size() + 1));
  std::vector<TokenId> ids;
  for (std::size_t id = 0; id < vocabulary.tokens.size(); ++id) {
    if (vocabulary.types[id] != TokenType::normal) continue;
    const auto bytes = spelled_bytes(vocabulary.tokens[id]);
    if (!bytes || bytes->empty() || find_whole_token(*bytes)) continue;
    ids.clear();
    if (!all) merge(*bytes, ids);
    if (!all && ids != std::vector{static_cast<TokenId>(id)}) continue;
    const std::uint32_t hash = hash_of(*bytes);
    std::size_t slot = hash & (whole_tokens_.size() - 1);
    while (whole_tokens_[slot].length != 0) slot = (slot + 1) & (whole_tokens_.size() - 1);
    whole_tokens_[slot] = {hash, static_cast<std::uint32_t>(bytes->size()),
                           static_cast<std::uint32_t>(whole_bytes_.size()), static_cast<TokenId>(id)};
    whole_bytes_ += *bytes;
    longest_whole_token_ = std::max(longest_whole_token_, bytes->size());
  }
}

std::size_t BytePairEncoder::merge_slot(std::uint64_t pair) const {
  const std::size_t mask = merges_.size() - 1;
  std::size_t slot = (pair * 0x9E3779B97F4A7C15ull >> 32) & mask;  // Fibonacci hashing
  while (merges_[slot].pair != pair && merges_[slot].rank != kNoRank) slot = (slot + 1) & mask;
  return slot;
}

const BytePairEncoder::Merge& BytePairEncoder::find_merge(TokenId left, TokenId right) const {
  return merges_[merge_slot(pair_of(left, right))];
}

std::optional<TokenId> BytePairEncoder::find_whole_token(std::string_view pre_token) const {
  const std::uint32_t hash = hash_of(pre_token);
  const std::size_t mask = whole_tokens_.size() - 1;
  for (std::size_t slot = hash & mask; whole_tokens_[slot].length != 0; slot = (slot + 1) & mask) {
    const WholeToken& candidate = whole_tokens_[slot];
    if (candidate.hash == hash && candidate.length == pre_token.size() &&
        std::string_view(whole_bytes_).substr(candidate.offset, candidate.length) == pre_token)
      return candidate.id;
  }
  return std::nullopt;
}

void BytePairEncoder::encode(std::string_view pre_token, std::vector<TokenId>& ids) const {
  if (pre_token.size() <= longest_whole_token_) {
    if (const auto id = find_whole_token(pre_token)) {
      ids.push_back(*id);
      return;
    }
  }
  merge(pre_token, ids);
}

void BytePairEncoder::merge(std::string_view bytes, std::vector<TokenId>& ids) const {
  if (bytes.size() > kMaxShortSymbols) {
    merge_long(*this, bytes, kSegmentBytes, ids);
    return;
  }
  std::array<TokenId, kMaxShortSymbols> symbols;
  std::size_t count = 0;
  for (const char byte : bytes)
    if (const auto id = byte_token(byte)) symbols[count++] = *id;
  count = merge_short(std::span(symbols).first(count));
  ids.insert(ids.end(), symbols.begin(), symbols.begin() + count);
}

std::size_t BytePairEncoder::merge_short(std::span<TokenId> symbols) const {
  std::array<std::uint32_t, kMaxShortSymbols> ranks;  // of the pair that begins at each symbol but the last
  std::size_t count = symbols.size();
  for (std::size_t i = 0; i + 1 < count; ++i) ranks[i] = find_merge(symbols[i], symbols[i + 1]).rank;
  while (count > 1) {
    const auto* best = std::min_element(ranks.begin(), ranks.begin() + count - 1);
    if (*best == kNoRank) break;
    const auto i = static_cast<std::size_t>(best - ranks.begin());
    symbols[i] = find_merge(symbols[i], symbols[i + 1]).merged;
    std::copy(symbols.begin() + i + 2, symbols.begin() + count, symbols.begin() + i + 1);
    std::copy(ranks.begin() + i + 1, ranks.begin() + count - 1, ranks.begin() + i);
    --count;
    if (i + 1 < count) ranks[i] = find_merge(symbols[i], symbols[i + 1]).rank;
    if (i > 0) ranks[i - 1] = find_merge(symbols[i - 1], symbols[i]).rank;
  }
  return count;
}

}  // namespace rotulus::worker::tokenizer
