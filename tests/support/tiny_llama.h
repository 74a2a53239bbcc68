// A Llama model of a few kilobytes: every tensor is there, its F32 weights are random, those of other types zero.
#pragma once

#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "tests/support/gguf_builder.h"
#include "worker/model/ggml_type.h"

namespace rotulus::testing {

struct TinyLlama {
  std::uint32_t layers = 2;
  std::uint32_t embedding = 64;
  std::uint32_t feed_forward = 96;
  std::uint32_t query_heads = 4;
  std::uint32_t kv_heads = 2;
  std::uint32_t head_dim = 16;
  std::uint32_t vocabulary = 40;
  worker::GgmlType type{};  // of the matrices
  bool is_tied = false;
  std::uint32_t seed = 1;
};

inline std::vector<std::byte> random_floats(std::size_t count, std::mt19937& random) {
  std::vector<float> values(count);
  for (float& value : values) value = static_cast<float>(static_cast<std::int32_t>(random() % 2001) - 1000) / 1024;
  std::vector<std::byte> bytes(count * sizeof(float));
  std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

inline GgufBuilder tiny_llama(const TinyLlama& model = {}) {
  std::mt19937 random(model.seed);
  GgufBuilder file;
  file.string("general.architecture", "llama").string("general.name", "tiny");
  file.u32("llama.block_count", model.layers).u32("llama.context_length", 1024);
  file.u32("llama.embedding_length", model.embedding).u32("llama.feed_forward_length", model.feed_forward);
  file.u32("llama.attention.head_count", model.query_heads).u32("llama.attention.head_count_kv", model.kv_heads);
  file.f32("llama.attention.layer_norm_rms_epsilon", 1e-5f).f32("llama.rope.freq_base", 10000.0f);
  file.u32("llama.rope.dimension_count", model.head_dim);
  const auto matrix = [&](std::string name, std::uint64_t rows, std::uint64_t columns) {
    const auto layout = worker::find_layout(model.type).value();
    const auto bytes = model.type == worker::GgmlType{}
                           ? random_floats(rows * columns, random)
                           : std::vector<std::byte>(rows * columns / layout.block_elements * layout.block_bytes);
    file.tensor({std::move(name), {columns, rows}, static_cast<std::uint32_t>(model.type), bytes});
  };
  const auto norm = [&](std::string name) {
    file.tensor({std::move(name), {model.embedding}, 0, random_floats(model.embedding, random)});
  };
  matrix("token_embd.weight", model.vocabulary, model.embedding);
  for (std::uint32_t layer = 0; layer < model.layers; ++layer) {
    const std::string prefix = "blk." + std::to_string(layer) + ".";
    norm(prefix + "attn_norm.weight");
    matrix(prefix + "attn_q.weight", model.query_heads * model.head_dim, model.embedding);
    matrix(prefix + "attn_k.weight", model.kv_heads * model.head_dim, model.embedding);
    matrix(prefix + "attn_v.weight", model.kv_heads * model.head_dim, model.embedding);
    matrix(prefix + "attn_output.weight", model.embedding, model.query_heads * model.head_dim);
    norm(prefix + "ffn_norm.weight");
    matrix(prefix + "ffn_gate.weight", model.feed_forward, model.embedding);
    matrix(prefix + "ffn_up.weight", model.feed_forward, model.embedding);
    matrix(prefix + "ffn_down.weight", model.embedding, model.feed_forward);
  }
  norm("output_norm.weight");
  if (!model.is_tied) matrix("output.weight", model.vocabulary, model.embedding);
  return file;
}

}  // namespace rotulus::testing
