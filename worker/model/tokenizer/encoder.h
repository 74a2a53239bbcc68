// What kinds of tokenizers differ in: how text is cut into pieces whose ids do not depend on each other (pre-tokens),
// and what the ids of one are.
//
// Threads: an Encoder is immutable and safe anywhere; a Cutter belongs to one thread, and its Encoder outlives it.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "worker/model/tokenizer/vocabulary.h"

namespace rotulus::worker::tokenizer {

// Cuts text, all at once or as it arrives; the cuts are those of the whole text however it arrives.
class Cutter {
 public:
  virtual ~Cutter() = default;

  // Goes on with `text`: what was not yet handed out of the text before, and whatever came since. The caller keeps it
  // alive until the next call.
  virtual void feed(std::string_view text, bool complete) = 0;

  // The next pre-token; nothing where it is undecided without more text, or at the end.
  virtual std::optional<std::string_view> next() = 0;

  virtual std::size_t handed_out() const = 0;  // bytes of the text last fed
};

class Encoder {
 public:
  virtual ~Encoder() = default;

  virtual std::unique_ptr<Cutter> make_cutter() const = 0;
  virtual void encode(std::string_view pre_token, std::vector<TokenId>& ids) const = 0;
  virtual std::string_view missing_bytes() const = 0;  // bytes that no token stands for, ascending
  virtual bool adds_bos() const = 0;                   // where the file does not say
};

// Throws Error{unsupported, malformed_file} where the vocabulary cannot be used.
std::unique_ptr<Encoder> make_encoder(const Vocabulary& vocabulary);

}  // namespace rotulus::worker::tokenizer
