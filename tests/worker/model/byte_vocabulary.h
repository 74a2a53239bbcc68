// Small vocabularies written down in tests.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "worker/model/tokenizer/byte_alphabet.h"
#include "worker/model/tokenizer/vocabulary.h"

namespace rotulus::worker {

// Token i is byte i; `merges` make the next ones (in the alphabet of bytes, "left right"), `specials` follow.
inline tokenizer::Vocabulary byte_vocabulary(std::vector<std::string> merges, std::string pre_tokenizer,
                                             const std::vector<std::string>& specials = {}) {
  tokenizer::Vocabulary vocabulary{.pre_tokenizer = std::move(pre_tokenizer)};
  for (int byte = 0; byte < 256; ++byte)
    vocabulary.tokens.push_back(tokenizer::spell_byte(static_cast<std::uint8_t>(byte)));
  for (std::string merge : merges) vocabulary.tokens.push_back(merge.erase(merge.find(' ', 1), 1));
  vocabulary.types.assign(vocabulary.tokens.size(), tokenizer::TokenType::normal);
  for (const std::string& special : specials) {
    vocabulary.tokens.push_back(special);
    vocabulary.types.push_back(tokenizer::TokenType::control);
  }
  vocabulary.merges = std::move(merges);
  return vocabulary;
}

}  // namespace rotulus::worker
