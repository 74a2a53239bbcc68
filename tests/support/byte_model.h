// A tiny model that speaks bytes, so that everything that needs a tokenizer can open it.
#pragma once

#include "tests/support/tiny_model.h"
#include "worker/model/tokenizer/byte_alphabet.h"

namespace rotulus::testing {

// window: of its sliding layers; 0: the file says none.
inline GgufBuilder byte_model(const std::string& architecture, std::uint32_t window) {
  std::vector<std::string> tokens;
  for (int byte = 0; byte < 256; ++byte) {
    tokens.push_back(worker::tokenizer::spell_byte(static_cast<std::uint8_t>(byte)));
  }
  tokens.emplace_back("<|im_end|>");
  GgufBuilder file =
      tiny_model({.architecture = architecture, .layers = 6, .vocabulary = static_cast<std::uint32_t>(tokens.size())});
  file.string("tokenizer.ggml.model", "gpt2").string("tokenizer.ggml.pre", "smollm");
  file.strings("tokenizer.ggml.tokens", tokens).strings("tokenizer.ggml.merges", {});
  file.u32("tokenizer.ggml.eos_token_id", 256);
  if (window > 0) file.u32(architecture + ".attention.sliding_window", window);
  return file;
}

}  // namespace rotulus::testing
