// A model of a few kilobytes of any architecture: every tensor is there, its F32 weights are random, those of other
// types zero.
#pragma once

#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <vector>

#include "tests/support/gguf_builder.h"
#include "worker/model/ggml_type.h"

namespace rotulus::testing {

struct TinyModel {
  std::string architecture = "llama";
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

inline GgufBuilder tiny_model(const TinyModel& model = {}) {
  std::mt19937 random(model.seed);
  GgufBuilder file;
  const std::string name_space = model.architecture + ".";
  file.string("general.architecture", model.architecture).string("general.name", "tiny");
  const auto count = [&](const char* key, std::uint32_t value) { file.u32(name_space + key, value); };
  count("block_count", model.layers);
  count("context_length", 1024);
  count("embedding_length", model.embedding);
  count("feed_forward_length", model.feed_forward);
  count("attention.head_count", model.query_heads);
  count("attention.head_count_kv", model.kv_heads);
  count("rope.dimension_count", model.head_dim);
  file.f32(name_space + "attention.layer_norm_rms_epsilon", 1e-5f).f32(name_space + "rope.freq_base", 10000.0f);

  const bool is_gemma = model.architecture == "gemma2" || model.architecture == "gemma3";
  const bool is_phi = model.architecture == "phi3";
  const bool has_head_norms = model.architecture == "qwen3" || model.architecture == "gemma3";
  const std::uint64_t query_width = std::uint64_t{model.query_heads} * model.head_dim;
  const std::uint64_t kv_width = std::uint64_t{model.kv_heads} * model.head_dim;
  const auto matrix = [&](std::string name, std::uint64_t rows, std::uint64_t columns) {
    const auto layout = worker::find_layout(model.type).value();
    const auto bytes = model.type == worker::GgmlType{}
                           ? random_floats(rows * columns, random)
                           : std::vector<std::byte>(rows * columns / layout.block_elements * layout.block_bytes);
    file.tensor({std::move(name), {columns, rows}, static_cast<std::uint32_t>(model.type), bytes});
  };
  const auto vector = [&](std::string name, std::uint64_t size) {
    file.tensor({std::move(name), {size}, 0, random_floats(size, random)});
  };
  const auto projection = [&](const std::string& name, std::uint64_t rows) {
    matrix(name + ".weight", rows, model.embedding);
    if (model.architecture == "qwen2") vector(name + ".bias", rows);
  };
  matrix("token_embd.weight", model.vocabulary, model.embedding);
  for (std::uint32_t layer = 0; layer < model.layers; ++layer) {
    const std::string prefix = "blk." + std::to_string(layer) + ".";
    vector(prefix + "attn_norm.weight", model.embedding);
    if (is_phi) {
      matrix(prefix + "attn_qkv.weight", query_width + 2 * kv_width, model.embedding);
    } else {
      projection(prefix + "attn_q", query_width);
      projection(prefix + "attn_k", kv_width);
      projection(prefix + "attn_v", kv_width);
    }
    if (has_head_norms) vector(prefix + "attn_q_norm.weight", model.head_dim);
    if (has_head_norms) vector(prefix + "attn_k_norm.weight", model.head_dim);
    matrix(prefix + "attn_output.weight", model.embedding, query_width);
    if (is_gemma) vector(prefix + "post_attention_norm.weight", model.embedding);
    vector(prefix + "ffn_norm.weight", model.embedding);
    if (!is_phi) matrix(prefix + "ffn_gate.weight", model.feed_forward, model.embedding);
    matrix(prefix + "ffn_up.weight", (is_phi ? 2 : 1) * std::uint64_t{model.feed_forward}, model.embedding);
    matrix(prefix + "ffn_down.weight", model.embedding, model.feed_forward);
    if (is_gemma) vector(prefix + "post_ffw_norm.weight", model.embedding);
  }
  vector("output_norm.weight", model.embedding);
  if (!model.is_tied) matrix("output.weight", model.vocabulary, model.embedding);
  return file;
}

// A file that is gone with the test.
class TemporaryModel final {
 public:
  explicit TemporaryModel(const GgufBuilder& builder, const std::string& name = "model") {
    path_ = std::filesystem::temp_directory_path() / ("tiny-" + std::to_string(::getpid()) + "-" + name + ".gguf");
    const auto bytes = builder.build();
    std::ofstream(path_, std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  }
  ~TemporaryModel() { std::filesystem::remove(path_); }
  TemporaryModel(const TemporaryModel&) = delete;
  TemporaryModel& operator=(const TemporaryModel&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace rotulus::testing
