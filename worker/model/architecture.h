// What differs between the families of models: a row of facts for each architecture. There is one forward pass
// (transformer.h), and it asks these facts and what is in the file; it never asks for a name.
//
// Sources: the models' papers and published code (Llama 2/3, Mistral, Qwen2, Qwen3, Gemma 2, Gemma 3, Phi-3), and the
// conventions by which files are converted: Llama's query and key rows are permuted so that neighbours form a RoPE
// pair, and Gemma's norms, which multiply by 1 + w, are stored as 1 + w.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "kernels/backend.h"

namespace rotulus::worker {

enum class Activation : std::uint8_t { silu, gelu /* its tanh form */ };

// Which products have biases. `attention` is of queries, keys and values; `optional` is of any product that has one.
enum class Biases : std::uint8_t { none, attention, optional };

struct Architecture {
  std::string_view name;  // general.architecture
  kernels::RopePairing pairing = kernels::RopePairing::halves;
  Activation activation = Activation::silu;
  Biases biases = Biases::none;
  bool has_head_norms = false;       // queries and keys are normed, each head by itself, before they turn
  bool has_post_norms = false;       // what attention and the feed-forward net give is normed before it is added
  bool has_fused_products = false;   // attn_qkv is Q, K, V below each other; ffn_up is gate and up
  bool scales_embeddings = false;    // by sqrt(embedding)
  float attention_soft_cap = 0;      // where the file says nothing; 0: none
  float logit_soft_cap = 0;          // likewise
  std::uint32_t sliding_window = 0;  // likewise
  // In which layers a sliding window counts: in all but each n-th, in all (0), or in none, and a file that asks for
  // one is refused.
  std::optional<std::uint32_t> full_layer_each;
  double sliding_rope_base = 0;  // of the layers that slide; 0: as the others
  // The scale of scores is 1/sqrt(head_dim), but in models of this many layers 1/sqrt(embedding / query_heads); the
  // file does not say so.
  std::uint32_t layers_of_wide_scale = 0;
};

// nullptr where we have none of that name.
const Architecture* find_architecture(std::string_view name);

// "llama, qwen2, …", for messages.
std::string architecture_names();

}  // namespace rotulus::worker
