#include "worker/model/tokenizer/special_token_index.h"

#include <algorithm>
#include <utility>

namespace rotulus::worker::tokenizer {

namespace {

constexpr std::size_t two_bytes(char first, std::uint8_t second) {
  return std::size_t{static_cast<std::uint8_t>(first)} << 8 | second;
}

}  // namespace

SpecialTokenIndex::SpecialTokenIndex(const Vocabulary& vocabulary, const std::function<bool(TokenId)>& is_wanted) {
  for (TokenId id = 0; id < vocabulary.tokens.size(); ++id) {
    if (!is_wanted(id)) continue;
    std::string text = token_bytes(vocabulary, id);
    if (text.empty()) continue;
    if (text.size() == 1) {
      for (int second = 0; second < 256; ++second) begins_.set(two_bytes(text[0], static_cast<std::uint8_t>(second)));
    } else {
      begins_.set(two_bytes(text[0], static_cast<std::uint8_t>(text[1])));
    }
    by_first_byte_[static_cast<std::uint8_t>(text[0])].push_back({std::move(text), id});
  }
  for (auto& entries : by_first_byte_)
    std::stable_sort(entries.begin(), entries.end(),
                     [](const Entry& a, const Entry& b) { return a.text.size() > b.text.size(); });
}

std::optional<SpecialMatch> SpecialTokenIndex::find_first(std::string_view text) const {
  for (std::size_t offset = 0; offset < text.size(); ++offset)
    if (const Entry* entry = find_at_start(text.substr(offset)))
      return SpecialMatch{offset, entry->text.size(), entry->id};
  return std::nullopt;
}

std::optional<SpecialMatch> SpecialTokenIndex::find_first_in_part(std::string_view text) const {
  for (std::size_t offset = 0; offset < text.size(); ++offset) {
    if (may_begin(text.substr(offset))) return SpecialMatch{.offset = offset};
    if (const Entry* entry = find_at_start(text.substr(offset)))
      return SpecialMatch{offset, entry->text.size(), entry->id};
  }
  return std::nullopt;
}

const SpecialTokenIndex::Entry* SpecialTokenIndex::find_at_start(std::string_view text) const {
  const std::uint8_t second = text.size() > 1 ? static_cast<std::uint8_t>(text[1]) : 0;
  if (!begins_[two_bytes(text[0], second)]) return nullptr;
  for (const Entry& entry : by_first_byte_[static_cast<std::uint8_t>(text[0])])
    if (text.starts_with(entry.text)) return &entry;
  return nullptr;
}

bool SpecialTokenIndex::may_begin(std::string_view text) const {
  const auto& entries = by_first_byte_[static_cast<std::uint8_t>(text[0])];
  return std::any_of(entries.begin(), entries.end(), [&](const Entry& entry) {
    return entry.text.size() > text.size() && entry.text.starts_with(text);
  });
}

std::optional<TokenId> SpecialTokenIndex::find(std::string_view text) const {
  if (text.empty()) return std::nullopt;
  for (const Entry& entry : by_first_byte_[static_cast<std::uint8_t>(text[0])])
    if (entry.text == text) return entry.id;
  return std::nullopt;
}

}  // namespace rotulus::worker::tokenizer
