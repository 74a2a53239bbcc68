// The numbers of a model: what its file says, checked for what we compute.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/backend.h"
#include "protocol/kv_cost.h"
#include "worker/model/architecture.h"
#include "worker/model/gguf_file.h"

namespace rotulus::worker {

// How a layer attends.
struct LayerAttention {
  kernels::Rope rope;
  float turned_query_scale = 1;  // of the entries of a query that turn (rope_scaling.h)
  std::uint32_t window = 0;      // a row sees the last so many tokens, itself among them; 0: all
};

struct Hyperparameters {
  const Architecture* architecture = nullptr;
  std::string name;  // general.name, or the file's name
  std::uint32_t layers = 0;
  std::uint32_t embedding = 0;  // width of a row
  std::uint32_t feed_forward = 0;
  std::uint32_t query_heads = 0;
  std::uint32_t kv_heads = 0;
  std::uint32_t head_dim = 0;
  std::uint32_t vocabulary = 0;
  std::uint32_t context_length = 0;  // the trained window
  float norm_epsilon = 0;
  float softmax_scale = 0;
  float attention_soft_cap = 0;  // of scores, 0: none
  float logit_soft_cap = 0;      // of logits, 0: none
  LayerAttention full_attention;
  LayerAttention sliding_attention;
  std::vector<bool> slides;  // [layers]
  std::string rope_scaling;  // of full attention, for people; empty: none

  const LayerAttention& attention_of(std::uint32_t layer) const {
    return slides[layer] ? sliding_attention : full_attention;
  }
  // kv_token_bytes: of one layer.
  protocol::KvCost kv_cost(std::size_t kv_token_bytes) const;
};

// Errors: Error{unsupported} names a key that asks for what we do not compute, and the way out (an architecture, a RoPE
// scaling, experts …). In the architecture's own name space every key that is not known is refused: it may change the
// computation. Error{malformed_file} names a key that is missing or contradicts another.
Hyperparameters read_hyperparameters(const GgufFile& file);

}  // namespace rotulus::worker
