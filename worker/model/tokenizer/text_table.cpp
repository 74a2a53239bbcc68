#include "worker/model/tokenizer/text_table.h"

#include <algorithm>
#include <bit>
#include <functional>

namespace rotulus::worker::tokenizer {
namespace {

std::uint32_t hash_of(std::string_view bytes) {
  return static_cast<std::uint32_t>(std::hash<std::string_view>{}(bytes));
}

}  // namespace

TextTable::TextTable(std::size_t max_count) : entries_(std::bit_ceil(2 * max_count + 1)) {}

void TextTable::add(std::string_view text, TokenId id) {
  if (text.empty()) return;
  const std::uint32_t hash = hash_of(text);
  Entry& entry = entries_[slot_of(text, hash)];
  if (entry.length != 0) return;
  entry = {hash, static_cast<std::uint32_t>(text.size()), texts_.size(), id};
  texts_ += text;
  longest_ = std::max(longest_, text.size());
}

std::optional<TokenId> TextTable::find(std::string_view text) const {
  if (text.size() > longest_) return std::nullopt;
  const Entry& entry = entries_[slot_of(text, hash_of(text))];
  return entry.length == 0 ? std::nullopt : std::optional(entry.id);
}

std::size_t TextTable::slot_of(std::string_view text, std::uint32_t hash) const {
  const std::size_t mask = entries_.size() - 1;
  std::size_t slot = hash & mask;
  for (; entries_[slot].length != 0; slot = (slot + 1) & mask) {
    const Entry& entry = entries_[slot];
    if (entry.hash == hash && std::string_view(texts_).substr(entry.offset, entry.length) == text) break;
  }
  return slot;
}

}  // namespace rotulus::worker::tokenizer
