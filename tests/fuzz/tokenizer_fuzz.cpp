// Any bytes become ids and the same bytes again, at once or in pieces, with small vocabularies whose merges meet every
// pre-tokenizer.
#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "protocol/error.h"
#include "tests/worker/model/byte_vocabulary.h"
#include "worker/model/tokenizer.h"

using rotulus::worker::TokenId;
using rotulus::worker::Tokenizer;

namespace {

const std::deque<Tokenizer>& tokenizers() {
  static const std::deque<Tokenizer> all = [] {
    std::deque<Tokenizer> made;
    for (const char* name : {"smollm", "gpt-2", "default", "llama-bpe", "qwen2"})
      made.emplace_back(rotulus::worker::byte_vocabulary(
          {"a b", "ab c", "Ġ Ġ", "ĠĠ ĠĠ", "Ġ a", "Ċ Ċ", "1 2", "' s", "Ã ©", "! !", "a a", "aa aa"}, name,
          {"<|im_end|>"}));
    return made;
  }();
  return all;
}

// The first byte chooses the tokenizer, the second the size of pieces.
void check_tokenizer(std::string_view input) {
  if (input.size() < 2) return;
  const Tokenizer& tokenizer = tokenizers()[static_cast<std::uint8_t>(input[0]) % tokenizers().size()];
  const std::size_t piece = 1 + static_cast<std::uint8_t>(input[1]) % 16;
  const std::string_view text = input.substr(2);
  const auto ids = tokenizer.encode(text);
  CHECK(tokenizer.decode(ids) == text);
  CHECK(tokenizer.decode(tokenizer.encode(text, rotulus::worker::SpecialTokens::parse), true) == text);

  std::vector<TokenId> streamed;
  rotulus::worker::TokenStream stream(tokenizer);
  for (std::size_t offset = 0; offset < text.size(); offset += piece)
    stream.append(text.substr(offset, piece), streamed);
  stream.finish(streamed);
  CHECK(streamed == ids, text.size(), piece);

  rotulus::worker::TextStream once;
  std::string shown = once.append(text) + once.finish();
  rotulus::worker::TextStream again;
  CHECK(again.append(shown) == shown && again.finish().empty());  // it is valid UTF-8
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  check_tokenizer(input);
  return 0;
}
