// Text to token ids and back, from the vocabulary inside a GGUF: byte-level BPE (GPT-2 and its heirs) or
// SentencePiece's BPE (Llama 2, Gemma).
//
// Text is cut into pre-tokens, by the pattern that the file names or where no piece of the vocabulary can lie across,
// and each pre-token is merged. Control tokens are never parsed out of text: a document that contains "<|im_end|>" is
// text.
//
// Byte-exact: decode(encode(x)) == x for any bytes that the vocabulary has. A vocabulary may lack some (see
// missing_bytes): those are left out of the ids, as by the libraries that models are trained with.
//
// Threads: a Tokenizer is immutable after construction; its const methods are safe from several threads at once.
// Errors:  Error{unsupported} names a tokenizer or pre-tokenizer we do not have; Error{malformed_file} a bad
// vocabulary.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "protocol/ids.h"
#include "worker/model/gguf_file.h"

namespace rotulus::worker {

using protocol::TokenId;

// How the special tokens of a vocabulary are treated inside text.
enum class SpecialTokens : std::uint8_t { as_text, parse };

// What stands before a text. Some vocabularies put a space before the beginning of one, and only there.
enum class TextStart : std::uint8_t { beginning /* nothing, or a special token */, continuation /* other text */ };

// A special token found in text.
struct SpecialMatch {
  std::size_t offset = 0;
  std::size_t bytes = 0;
  TokenId id = 0;
};

namespace tokenizer {
struct Vocabulary;
}

class Tokenizer final {
 public:
  explicit Tokenizer(const GgufFile& file);  // copies what it needs
  explicit Tokenizer(const tokenizer::Vocabulary& vocabulary);
  ~Tokenizer();
  Tokenizer(const Tokenizer&) = delete;
  Tokenizer& operator=(const Tokenizer&) = delete;

  std::uint32_t vocabulary_size() const;
  std::optional<TokenId> bos() const;  // only where the file (add_bos_token) or its pre-tokenizer asks to add it
  std::optional<TokenId> eos() const;
  std::string_view bos_text() const;  // as chat templates write it, whether or not it is added to text; "" for none
  std::string_view eos_text() const;
  bool ends_generation(TokenId id) const;  // eos, eot and their kin, as the file and its names say
  std::optional<TokenId> find_special(std::string_view text) const;
  // The leftmost special token in `text` (control, or a user-defined mark), and of those that begin there the longest.
  std::optional<SpecialMatch> find_first_special(std::string_view text) const;
  // Whether white space behind this token of a prompt's markup is no part of the prompt (Phi-3's "<|user|>\n").
  bool swallows_space_after(TokenId id) const;
  std::string_view missing_bytes() const;  // bytes that no token of the vocabulary stands for, ascending

  // The ids of `text`; never adds BOS. Any bytes are allowed: invalid UTF-8 round-trips.
  // Throws Error{invalid_argument} with the offset if one pre-token exceeds limits.h kMaxPreTokenBytes.
  std::vector<TokenId> encode(std::string_view text, SpecialTokens special = SpecialTokens::as_text,
                              TextStart start = TextStart::beginning) const;

  // The bytes that a token stands for; a control token stands for its text if `special_text`, else for nothing.
  // Throws Error{invalid_argument} for an id outside the vocabulary.
  std::string_view bytes(TokenId id, bool special_text = false) const;
  // What encode() made `ids` of: without the space that it put before a text's beginning.
  std::string decode(const std::vector<TokenId>& ids, bool special_text = false) const;

 private:
  friend class TokenStream;
  struct State;
  std::unique_ptr<State> state_;
};

// Encodes a document that arrives in pieces of any size. The ids are those of encode() over the whole text: a match
// that touches the end of what has arrived is not final. Memory is bounded by the longest pre-token: undecided text
// beyond limits.h kMaxPreTokenBytes is Error{invalid_argument} with its offset. A stream that threw is of no more use.
//
// Cost: linear. Undecided text is looked at again when it has doubled, so that ids may come a little after they are
// final.
class TokenStream final {
 public:
  // The tokenizer must outlive the stream. A stream that was finished begins anew, with a beginning.
  explicit TokenStream(const Tokenizer& tokenizer, TextStart start = TextStart::beginning);
  ~TokenStream();

  void append(std::string_view piece, std::vector<TokenId>& ids);  // adds ids that are now final
  void append_special(TokenId id, std::vector<TokenId>& ids);      // ends the text before it
  void finish(std::vector<TokenId>& ids);                          // the rest; the stream is empty afterwards

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Turns the tokens of a running answer into text, holding back the bytes of an unfinished UTF-8 character.
class TextStream final {
 public:
  std::string append(std::string_view bytes);  // whole characters that are now complete; invalid bytes become U+FFFD
  std::string finish();                        // what is left, as U+FFFD where it is not a character

 private:
  std::string held_;
};

}  // namespace rotulus::worker
