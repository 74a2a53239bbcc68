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

struct Layer {
  std::vector<float> attention_norm;              // [embedding]
  std::unique_ptr<kernels::PackedWeight> query;   // [query_heads * head_dim, embedding]
  std::unique_ptr<kernels::PackedWeight> key;     // [kv_heads * head_dim, embedding]
  std::unique_ptr<kernels::PackedWeight> value;   // [kv_heads * head_dim, embedding]
  std::unique_ptr<kernels::PackedWeight> output;  // [embedding, query_heads * head_dim]
  std::vector<float> feed_forward_norm;           // [embedding]
  std::unique_ptr<kernels::PackedWeight> gate;    // [feed_forward, embedding]
  std::unique_ptr<kernels::PackedWeight> up;      // [feed_forward, embedding]
  std::unique_ptr<kernels::PackedWeight> down;    // [embedding, feed_forward]
};

struct Model {
  GgufFile file;  // kept mapped: the embedding table is read from it
  Hyperparameters hyperparameters;
  kernels::WeightSource embeddings;  // [vocabulary, embedding], in the file's form
  std::vector<Layer> layers;
  std::vector<float> output_norm;               // [embedding]
  std::unique_ptr<kernels::PackedWeight> head;  // [vocabulary, embedding]; the embeddings where the file ties them

  // Hex SHA-256. `fingerprint` covers hyperparameters and all weights; `tokenizer_fingerprint` the tokenizer's
  // metadata. Equal files give equal fingerprints; a changed weight byte changes them.
  std::string fingerprint;
  std::string tokenizer_fingerprint;
};

// Reads, checks and packs. Refuses by name (Error{unsupported}): an architecture other than those we have, a weight
// type that kernels do not know, any RoPE scaling, rope_freqs factors, biases or tensors that the graph would ignore.
// A wrong shape is Error{malformed_file} with both shapes.
std::unique_ptr<Model> load_model(const std::filesystem::path& path, kernels::Backend& backend);

}  // namespace rotulus::worker
