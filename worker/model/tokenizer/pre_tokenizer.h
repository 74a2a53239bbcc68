// The pre-tokenizers that we have, by the name in tokenizer.ggml.pre.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "worker/model/tokenizer/pattern.h"

namespace rotulus::worker::tokenizer {

struct PreTokenizer {
  // Applied in order: each cuts every piece that the one before it left into its matches and what lies between them.
  // A pattern sees its piece alone: a look-ahead at the end of a piece is at the end of text.
  std::vector<Pattern> patterns;
  bool whole_tokens_first = false;  // a pre-token that is a token is taken as it is, without merging
  bool adds_bos = false;            // where the file does not say
};

// Throws Error{unsupported} naming `name` and those we have.
PreTokenizer make_pre_tokenizer(std::string_view name);

}  // namespace rotulus::worker::tokenizer
