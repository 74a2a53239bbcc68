// The numbers of a model: what its file says, checked for what we compute.
#pragma once

#include <cstdint>
#include <string>

#include "kernels/backend.h"
#include "worker/model/gguf_file.h"

namespace rotulus::worker {

struct Hyperparameters {
  std::string architecture;  // "llama"
  std::string name;          // general.name, or the file's name
  std::uint32_t layers = 0;
  std::uint32_t embedding = 0;  // width of a row
  std::uint32_t feed_forward = 0;
  std::uint32_t query_heads = 0;
  std::uint32_t kv_heads = 0;
  std::uint32_t head_dim = 0;
  std::uint32_t vocabulary = 0;
  std::uint32_t context_length = 0;  // the trained window
  float norm_epsilon = 0;
  kernels::Rope rope;
};

// Errors: Error{unsupported} names a key that asks for what we do not compute, and the way out (an architecture, RoPE
// scaling, experts, a sliding window, a file of several parts …). In the architecture's own name space every key that
// is not known is refused: it may change the computation. Error{malformed_file} names a key that is missing or
// contradicts another.
Hyperparameters read_hyperparameters(const GgufFile& file);

}  // namespace rotulus::worker
