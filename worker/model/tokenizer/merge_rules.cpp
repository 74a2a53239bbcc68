#include "worker/model/tokenizer/merge_rules.h"

#include <algorithm>
#include <bit>

#include "protocol/error.h"
#include "worker/model/tokenizer/long_merge.h"
#include "worker/model/tokenizer/utf8.h"

namespace rotulus::worker::tokenizer {
namespace {

constexpr std::uint64_t pair_of(TokenId left, TokenId right) {
  return std::uint64_t{left} << 32 | right;
}

}  // namespace

MergeRules::MergeRules(Unit unit, std::size_t symbol_count, std::size_t max_merges)
    : unit_(unit),
      characters_(unit == Unit::character ? symbol_count : 0),
      lengths_(symbol_count),
      merges_(std::bit_ceil(2 * max_merges + 1)) {
  bytes_.fill(kNoSymbol);
  unknown_.fill(kNoSymbol);
}

void MergeRules::add_first_symbol(std::string_view text, TokenId id) {
  if (text.size() == 1) {
    bytes_[static_cast<std::uint8_t>(text[0])] = id;
  } else {
    characters_.add(text, id);
  }
  lengths_[id] = static_cast<std::uint32_t>(text.size());
}

void MergeRules::set_unknown(std::size_t bytes, TokenId id) {
  unknown_[bytes] = id;
  lengths_[id] = static_cast<std::uint32_t>(bytes);
}

void MergeRules::add_merge(TokenId left, TokenId right, const Merged& merged) {
  Merge& merge = merges_[slot_of(pair_of(left, right))];
  if (merge.rank == kNoRank) merge = {pair_of(left, right), merged.rank, merged.id};
  lengths_[merged.id] = static_cast<std::uint32_t>(merged.bytes);
}

std::size_t MergeRules::slot_of(std::uint64_t pair) const {
  const std::size_t mask = merges_.size() - 1;
  std::size_t slot = (pair * 0x9E3779B97F4A7C15ull >> 32) & mask;  // Fibonacci hashing
  while (merges_[slot].pair != pair && merges_[slot].rank != kNoRank) slot = (slot + 1) & mask;
  return slot;
}

const MergeRules::Merge& MergeRules::find(TokenId left, TokenId right) const {
  return merges_[slot_of(pair_of(left, right))];
}

MergeRules::Symbol MergeRules::first_symbol(std::string_view text) const {
  const auto lead = static_cast<std::uint8_t>(text[0]);
  std::uint32_t length = 1;
  TokenId id = bytes_[lead];
  if (unit_ == Unit::character && lead >= 0x80) {
    const Utf8Step step = step_utf8(text);
    CHECK(step.kind == Utf8Step::Kind::character, text.size());
    length = static_cast<std::uint32_t>(step.bytes);
    id = characters_.find(text.substr(0, length)).value_or(kNoSymbol);
  }
  return {id == kNoSymbol ? unknown_[length] : id, length};
}

void MergeRules::merge(std::string_view text, std::vector<TokenId>& ids) const {
  if (text.size() > kMaxShortBytes) {
    merge_long(*this, text, kSegmentBytes, ids);
    return;
  }
  std::array<TokenId, kMaxShortBytes> symbols;
  std::size_t count = 0;
  while (!text.empty()) {
    const Symbol symbol = first_symbol(text);
    symbols[count++] = symbol.id;
    text.remove_prefix(symbol.bytes);
  }
  count = merge_short(std::span(symbols).first(count));
  ids.insert(ids.end(), symbols.begin(), symbols.begin() + count);
}

std::size_t MergeRules::merge_short(std::span<TokenId> symbols) const {
  std::array<std::uint32_t, kMaxShortBytes> ranks;  // of the pair that begins at each symbol but the last
  std::size_t count = symbols.size();
  for (std::size_t i = 0; i + 1 < count; ++i) ranks[i] = find(symbols[i], symbols[i + 1]).rank;
  while (count > 1) {
    const auto* best = std::min_element(ranks.begin(), ranks.begin() + count - 1);
    if (*best == kNoRank) break;
    const auto i = static_cast<std::size_t>(best - ranks.begin());
    symbols[i] = find(symbols[i], symbols[i + 1]).merged;
    std::copy(symbols.begin() + i + 2, symbols.begin() + count, symbols.begin() + i + 1);
    std::copy(ranks.begin() + i + 1, ranks.begin() + count - 1, ranks.begin() + i);
    --count;
    if (i + 1 < count) ranks[i] = find(symbols[i], symbols[i + 1]).rank;
    if (i > 0) ranks[i - 1] = find(symbols[i - 1], symbols[i]).rank;
  }
  return count;
}

}  // namespace rotulus::worker::tokenizer
