// What a model file is, what it would cost, what is unusual in it and what we refuse, read from its header alone:
// weights are counted, not loaded.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "worker/model/gguf_file.h"

namespace rotulus::worker::doctor {

// What the keys and values of one token take, in memory and in a volume alike: both hold the same blocks.
struct KvCost {
  std::string type;
  std::uint64_t token_bytes = 0;
  std::uint64_t window_bytes = 0;  // of a context that fills the window
};

struct Fact {
  std::string name;  // "architecture", "tensors", …
  std::string value;
};

struct Inspection {
  std::vector<Fact> facts;
  std::vector<KvCost> kv;
  std::vector<std::string> unusual;
  std::vector<std::string> refused;  // each says what and why; empty: a worker takes the file
};

// `chat_template`: --chat-template, "" for none. Throws nothing that the file is to blame for: that is what `refused`
// is.
Inspection inspect(const GgufFile& file, const std::string& chat_template);

}  // namespace rotulus::worker::doctor
