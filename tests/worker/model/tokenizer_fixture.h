// Tokenizers for tests: that of the model, and small ones written down here.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "tests/support/model_file.h"
#include "worker/model/gguf_file.h"
#include "worker/model/tokenizer.h"
#include "worker/model/tokenizer/byte_alphabet.h"
#include "worker/model/tokenizer/vocabulary.h"

namespace rotulus::worker {

inline const Tokenizer& model_tokenizer() {
  static const Tokenizer tokenizer(GgufFile::open(testing::model_file()));
  return tokenizer;
}

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
