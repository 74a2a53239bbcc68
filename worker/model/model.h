// What a model file says, checked and ready: hyperparameters, packed weights, fingerprints.
//
// One model is shared by everything in a rank. Immutable after load; views are safe anywhere.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "kernels/backend.h"
#include "worker/model/gguf_file.h"
#include "worker/model/hyperparameters.h"

namespace rotulus::worker {

// y = W x + bias.
struct Product {
  kernels::WeightSource source;                   // [outputs, inputs], in the file's form
  std::unique_ptr<kernels::PackedWeight> weight;  // the same, packed
  std::vector<float> bias;                        // [outputs]; empty: none
};

// A norm or bias that the family does not have is empty.
struct Layer {
  std::vector<float> attention_norm;          // [embedding]
  Product query;                              // [query_heads * head_dim, embedding]
  Product key;                                // [kv_heads * head_dim, embedding]
  Product value;                              // [kv_heads * head_dim, embedding]
  std::vector<float> query_norm;              // [head_dim], of each head
  std::vector<float> key_norm;                // [head_dim], likewise
  Product output;                             // [embedding, query_heads * head_dim]
  std::vector<float> attention_post_norm;     // [embedding]
  std::vector<float> feed_forward_norm;       // [embedding]
  Product gate;                               // [feed_forward, embedding]
  Product up;                                 // [feed_forward, embedding]
  Product down;                               // [embedding, feed_forward]
  std::vector<float> feed_forward_post_norm;  // [embedding]
};

struct Model {
  GgufFile file;  // kept mapped: the embedding table is read from it
  Hyperparameters hyperparameters;
  kernels::WeightSource embeddings;  // [vocabulary, embedding], in the file's form
  std::vector<Layer> layers;
  std::vector<float> output_norm;  // [embedding]
  Product head;                    // [vocabulary, embedding]; the embeddings where the file ties them

  // Hex SHA-256. `fingerprint` covers hyperparameters and all weights; `tokenizer_fingerprint` the tokenizer's
  // metadata. Equal files give equal fingerprints; a changed weight byte changes them.
  std::string fingerprint;
  std::string tokenizer_fingerprint;
};

// Reads, checks and packs. Refuses by name (Error{unsupported}): an architecture other than those we have, a weight
// type that kernels do not know, and any tensor that the forward pass would ignore.
// A wrong shape is Error{malformed_file} with both shapes.
std::unique_ptr<Model> load_model(const std::filesystem::path& path, kernels::Backend& backend);

}  // namespace rotulus::worker
