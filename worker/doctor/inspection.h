// What a model file is, what it would cost, what is unusual in it and what we refuse, read from its header alone:
// weights are counted, not loaded.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "worker/model/gguf_file.h"

namespace rotulus::worker::doctor {

// What keys and values take in memory and in a volume alike: both hold the same blocks.
struct KvCost {
  std::string type;
  std::uint64_t token_bytes = 0;     // of one token of a long context: sliding layers drop most
  std::uint64_t landmark_bytes = 0;  // beside it, where the context is read by retrieval
  std::uint64_t window_bytes = 0;    // of a context that fills the window, without landmarks …
  std::uint64_t window_savings = 0;  // … and what it would take more if no layer slid
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

// A byte count as people read it.
std::string shown_bytes(std::uint64_t bytes);

// `chat_template`: --chat-template, "" for none. Throws nothing that the file is to blame for: that is what `refused`
// is.
Inspection inspect(const GgufFile& file, const std::string& chat_template);

}  // namespace rotulus::worker::doctor
