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

enum class VocabularyKind : std::uint8_t { byte_pair /* "gpt2" */, sentence_piece /* "llama" */ };

struct Vocabulary {
  VocabularyKind kind = VocabularyKind::byte_pair;
  std::vector<std::string> tokens;  // as the file spells them
  std::vector<TokenType> types;     // as many
  std::vector<std::string> merges;  // byte_pair: "left right", best first
  std::string pre_tokenizer;        // byte_pair: tokenizer.ggml.pre
  std::vector<float> scores;        // sentence_piece: of each token; what a merge makes, the higher the earlier
  bool adds_space = false;          // sentence_piece: a space is put before text (tokenizer.ggml.add_space_prefix)
  bool swallows_space = false;  // white space behind control tokens of markup is dropped: Phi-3, which files do not say
  std::optional<TokenId> bos;
  std::optional<TokenId> eos;
  std::vector<TokenId> other_ends;  // end of turn, end of message: what the file names beside eos
  std::optional<bool> add_bos;      // nothing where the file does not say
};

// Throws Error{unsupported} for a tokenizer of another kind, Error{malformed_file} for a missing or mistyped key, an
// unknown token type or an id outside the vocabulary.
Vocabulary read_vocabulary(const GgufFile& file);

// The bytes that a token stands for: spelled in the alphabet of bytes (byte_pair), or with U+2581 for spaces and
// "<0x0A>" for bytes (sentence_piece). Control tokens, and what is not spelled so, stand for their own text.
std::string token_bytes(const Vocabulary& vocabulary, TokenId id);

// Whether a token is found in any text before merging, as by the libraries that models are trained with: what the
// makers of a vocabulary defined beside its merges. In byte-level BPE but those that look like marks ("<tool_call>",
// "<｜User｜>"): a document that contains them must not be taken for markup. (In SentencePiece those are HTML tags.)
bool is_found_in_text(const Vocabulary& vocabulary, TokenId id);

}  // namespace rotulus::worker::tokenizer
