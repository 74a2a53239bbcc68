// What a GGUF says about its tokenizer, as plain values, checked for their types and sizes only.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "protocol/ids.h"

namespace rotulus::worker {
class GgufFile;
}

namespace rotulus::worker::tokenizer {

using protocol::TokenId;

enum class TokenType : std::uint8_t { normal = 1, unknown = 2, control = 3, user_defined = 4, unused = 5, byte = 6 };

struct Vocabulary {
  std::vector<std::string> tokens;  // as the file spells them
  std::vector<TokenType> types;     // as many
  std::vector<std::string> merges;  // "left right", best first
  std::string pre_tokenizer;        // tokenizer.ggml.pre
  std::optional<TokenId> bos;
  std::optional<TokenId> eos;
  std::vector<TokenId> other_ends;  // end of turn, end of message: what the file names beside eos
  std::optional<bool> add_bos;      // nothing where the file does not say
};

// Throws Error{unsupported} for a tokenizer other than byte-level BPE ("gpt2"), Error{malformed_file} for a missing or
// mistyped key, an unknown token type or an id outside the vocabulary.
Vocabulary read_vocabulary(const GgufFile& file);

}  // namespace rotulus::worker::tokenizer
