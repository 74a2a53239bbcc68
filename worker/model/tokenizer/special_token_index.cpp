#include "worker/model/tokenizer/special_token_index.h"

#include <algorithm>
#include <utility>

namespace rotulus::worker::tokenizer {

namespace {

constexpr std::size_t two_bytes(char first, std::uint8_t second) {
  return std::size_t{static_cast<std::uint8_t>(first)} << 8 | second;
}

}  // namespace

SpecialTokenIndex::SpecialTokenIndex(const Vocabulary& vocabulary, std::initializer_list<TokenType> types) {
  for (std::size_t id = 0; id < vocabulary.tokens.size(); ++id) {
    if (std::find(types.begin(), types.end(), vocabulary.types[id]) == types.end()) continue;
    std::string text = token_bytes(vocabulary, static_cast<TokenId>(id));
    if (text.empty()) continue;
    if (text.size() == 1) {
      for (int second = 0; second < 256; ++second) begins_.set(two_bytes(text[0], static_cast<std::uint8_t>(second)));
    } else {
      begins_.set(two_bytes(text[0], static_cast<std::uint8_t>(text[1])));
    }
    by_first_byte_[static_cast<std::uint8_t>(text[0])].push_back({std::move(text), static_cast<TokenId>(id)});
  }
  for (auto& entries : by_first_byte_)
    std::stable_sort(entries.begin(), entries.end(),
                     [](const Entry& a, const Entry& b) { return a.text.size() > b.text.size(); });
}

std::optional<SpecialMatch> SpecialTokenIndex::find_first(std::string_view text) const {
  for (std::size_t offset = 0; offset < text.size(); ++offset) {
    const std::uint8_t second = offset + 1 < text.size() ? static_cast<std::uint8_t>(text[offset + 1]) : 0;
    if (!begins_[two_bytes(text[offset], second)]) continue;
    for (const Entry& entry : by_first_byte_[static_cast<std::uint8_t>(text[offset])])
      if (text.substr(offset).starts_with(entry.text)) return SpecialMatch{offset, entry.text.size(), entry.id};
  }
  return std::nullopt;
}

std::optional<TokenId> SpecialTokenIndex::find(std::string_view text) const {
  if (text.empty()) return std::nullopt;
  for (const Entry& entry : by_first_byte_[static_cast<std::uint8_t>(text[0])])
    if (entry.text == text) return entry.id;
  return std::nullopt;
}

}  // namespace rotulus::worker::tokenizer
