#include "worker/model/tokenizer/special_token_index.h"

#include <algorithm>

namespace rotulus::worker::tokenizer {

SpecialTokenIndex::SpecialTokenIndex(const Vocabulary& vocabulary) {
  for (std::size_t id = 0; id < vocabulary.tokens.size(); ++id) {
    const std::string& text = vocabulary.tokens[id];
    const bool is_special =
        vocabulary.types[id] == TokenType::control || vocabulary.types[id] == TokenType::user_defined;
    if (is_special && !text.empty())
      by_first_byte_[static_cast<std::uint8_t>(text[0])].push_back({text, static_cast<TokenId>(id)});
  }
  for (auto& entries : by_first_byte_)
    std::stable_sort(entries.begin(), entries.end(),
                     [](const Entry& a, const Entry& b) { return a.text.size() > b.text.size(); });
}

std::optional<SpecialMatch> SpecialTokenIndex::find_first(std::string_view text) const {
  for (std::size_t offset = 0; offset < text.size(); ++offset)
    for (const Entry& entry : by_first_byte_[static_cast<std::uint8_t>(text[offset])])
      if (text.substr(offset).starts_with(entry.text)) return SpecialMatch{offset, entry.text.size(), entry.id};
  return std::nullopt;
}

std::optional<TokenId> SpecialTokenIndex::find(std::string_view text) const {
  if (text.empty()) return std::nullopt;
  for (const Entry& entry : by_first_byte_[static_cast<std::uint8_t>(text[0])])
    if (entry.text == text) return entry.id;
  return std::nullopt;
}

}  // namespace rotulus::worker::tokenizer
