#include "worker/model/model.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <optional>
#include <string_view>
#include <utility>

#include "protocol/error.h"
#include "worker/model/fingerprint.h"
#include "worker/model/gguf_parser.h"

namespace rotulus::worker {
namespace {

using protocol::Error;
using protocol::ErrorCode;

constexpr std::array<std::string_view, 3> kModelTensors = {"token_embd.weight", "output_norm.weight", "output.weight"};
constexpr std::array<std::string_view, 9> kLayerTensors = {
    "attn_norm.weight", "attn_q.weight",   "attn_k.weight", "attn_v.weight",   "attn_output.weight",
    "ffn_norm.weight",  "ffn_gate.weight", "ffn_up.weight", "ffn_down.weight",
};

std::string layer_tensor(std::uint32_t layer, std::string_view name) {
  return fmt::format("blk.{}.{}", layer, name);
}

// "blk.7.attn_q.weight" is (7, "attn_q.weight").
std::optional<std::pair<std::uint32_t, std::string_view>> split_layer(std::string_view name) {
  constexpr std::string_view kPrefix = "blk.";
  if (!name.starts_with(kPrefix)) return std::nullopt;
  std::uint32_t layer = 0;
  const auto [end, error] = std::from_chars(name.data() + kPrefix.size(), name.data() + name.size(), layer);
  if (error != std::errc() || end == name.data() + name.size() || *end != '.') return std::nullopt;
  const auto rest = static_cast<std::size_t>(end + 1 - name.data());
  return layer_tensor(layer, name.substr(rest)) == name ? std::optional(std::pair(layer, name.substr(rest)))
                                                        : std::nullopt;
}

// A tensor that the graph would ignore may change what the model was trained to compute.
void refuse_unknown_tensors(const GgufFile& file, std::uint32_t layers) {
  for (const GgufTensor& tensor : file.tensors()) {
    const auto in_layer = split_layer(tensor.name);
    const bool is_known =
        in_layer ? in_layer->first < layers && std::count(kLayerTensors.begin(), kLayerTensors.end(), in_layer->second)
                 : std::count(kModelTensors.begin(), kModelTensors.end(), tensor.name);
    if (is_known) continue;
    std::string_view reason = "it is no part of a plain Llama model; use a file without it";
    if (tensor.name.ends_with(".bias")) reason = "biases are not computed; use a model without them";
    if (tensor.name.find("rope_freqs") != std::string_view::npos) {
      reason = "RoPE frequency factors are not computed; use a model that is trained with plain RoPE";
    }
    if (tensor.name.find("_exps") != std::string_view::npos || tensor.name.find("_inp") != std::string_view::npos) {
      reason = "a mixture of experts is not computed; use a dense model";
    }
    throw Error(ErrorCode::unsupported, fmt::format("tensor {}: {}", quote(tensor.name), reason));
  }
}

const GgufTensor& require_tensor(const GgufFile& file, std::string_view name, const std::vector<std::uint64_t>& shape) {
  const GgufTensor* tensor = file.find_tensor(name);
  if (tensor == nullptr) throw Error(ErrorCode::malformed_file, fmt::format("tensor {} is missing", quote(name)));
  if (tensor->shape != shape) {
    throw Error(ErrorCode::malformed_file,
                fmt::format("tensor {} has shape [{}]; the metadata ask for [{}]", quote(name),
                            fmt::join(tensor->shape, ", "), fmt::join(shape, ", ")));
  }
  return *tensor;
}

kernels::WeightSource read_matrix(const GgufFile& file, std::string_view name, std::uint64_t rows,
                                  std::uint64_t columns) {
  const GgufTensor& tensor = require_tensor(file, name, {columns, rows});
  const auto type = find_weight_type(tensor.type);
  if (!type) {
    throw Error(ErrorCode::unsupported, fmt::format("tensor {} is stored as {}, which is not computed; quantize the "
                                                    "model to another type, such as Q4_K or Q8_0",
                                                    quote(name), to_string(tensor.type)));
  }
  CHECK(tensor.bytes.size() == rows * kernels::weight_row_bytes(*type, columns), tensor.bytes.size(), rows, columns);
  return {.type = *type, .rows = rows, .columns = columns, .bytes = tensor.bytes};
}

std::vector<float> read_norm(const GgufFile& file, std::string_view name, std::uint64_t size) {
  const GgufTensor& tensor = require_tensor(file, name, {size});
  if (find_weight_type(tensor.type) != kernels::WeightType::f32) {
    throw Error(ErrorCode::unsupported, fmt::format("tensor {} is stored as {}; norms are read as F32: convert the "
                                                    "model anew",
                                                    quote(name), to_string(tensor.type)));
  }
  std::vector<float> norm(size);
  std::memcpy(norm.data(), tensor.bytes.data(), tensor.bytes.size());
  return norm;
}

Layer read_layer(const GgufFile& file, const Hyperparameters& model, std::uint32_t index, kernels::Backend& backend) {
  const auto pack = [&](std::string_view name, std::uint64_t rows, std::uint64_t columns) {
    return backend.pack(read_matrix(file, layer_tensor(index, name), rows, columns));
  };
  const std::uint64_t query_width = std::uint64_t{model.query_heads} * model.head_dim;
  const std::uint64_t kv_width = std::uint64_t{model.kv_heads} * model.head_dim;
  return {
      .attention_norm = read_norm(file, layer_tensor(index, "attn_norm.weight"), model.embedding),
      .query = pack("attn_q.weight", query_width, model.embedding),
      .key = pack("attn_k.weight", kv_width, model.embedding),
      .value = pack("attn_v.weight", kv_width, model.embedding),
      .output = pack("attn_output.weight", model.embedding, query_width),
      .feed_forward_norm = read_norm(file, layer_tensor(index, "ffn_norm.weight"), model.embedding),
      .gate = pack("ffn_gate.weight", model.feed_forward, model.embedding),
      .up = pack("ffn_up.weight", model.feed_forward, model.embedding),
      .down = pack("ffn_down.weight", model.embedding, model.feed_forward),
  };
}

std::unique_ptr<Model> build_model(GgufFile file, kernels::Backend& backend) {
  auto model = std::make_unique<Model>(Model{.file = std::move(file), .hyperparameters = {}, .embeddings = {}});
  model->hyperparameters = read_hyperparameters(model->file);
  const Hyperparameters& numbers = model->hyperparameters;
  refuse_unknown_tensors(model->file, numbers.layers);
  model->embeddings = read_matrix(model->file, "token_embd.weight", numbers.vocabulary, numbers.embedding);
  model->output_norm = read_norm(model->file, "output_norm.weight", numbers.embedding);
  for (std::uint32_t layer = 0; layer < numbers.layers; ++layer) {
    model->layers.push_back(read_layer(model->file, numbers, layer, backend));
  }
  const bool has_head = model->file.find_tensor("output.weight") != nullptr;
  model->head = backend.pack(has_head ? read_matrix(model->file, "output.weight", numbers.vocabulary, numbers.embedding)
                                      : model->embeddings);
  model->fingerprint = fingerprint_model(numbers, model->file);
  model->tokenizer_fingerprint = fingerprint_tokenizer(model->file);
  return model;
}

}  // namespace

std::unique_ptr<Model> load_model(const std::filesystem::path& path, kernels::Backend& backend) {
  GgufFile file = GgufFile::open(path);
  try {
    auto model = build_model(std::move(file), backend);
    if (model->hyperparameters.name.empty()) model->hyperparameters.name = path.stem().string();
    return model;
  } catch (const Error& error) {
    throw Error(error.code(), fmt::format("model file {}: {}", path.string(), error.message()));
  }
}

}  // namespace rotulus::worker
