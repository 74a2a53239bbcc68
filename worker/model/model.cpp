#include "worker/model/model.h"

#include <cstring>
#include <set>
#include <string_view>
#include <utility>

#include "protocol/error.h"
#include "worker/model/fingerprint.h"
#include "worker/model/gguf_parser.h"
#include "worker/model/rope_scaling.h"

namespace rotulus::worker {
namespace {

using protocol::Error;
using protocol::ErrorCode;

// Takes tensors out of a file and remembers which: one that the forward pass would ignore may change what the model was
// trained to compute, so none may be left.
class TensorReader final {
 public:
  explicit TensorReader(const GgufFile& file) : file_(file) {}

  bool contains(std::string_view name) const { return file_.find_tensor(name) != nullptr; }
  kernels::WeightSource matrix(std::string_view name, std::uint64_t rows, std::uint64_t columns);
  std::vector<float> vector(std::string_view name, std::uint64_t size);
  void refuse_unread() const;

 private:
  const GgufTensor& require(std::string_view name, const std::vector<std::uint64_t>& shape);

  const GgufFile& file_;
  std::set<std::string_view> read_{kRopeTensors.begin(), kRopeTensors.end()};  // those are read with the metadata
};

const GgufTensor& TensorReader::require(std::string_view name, const std::vector<std::uint64_t>& shape) {
  const GgufTensor* tensor = file_.find_tensor(name);
  if (tensor == nullptr) throw Error(ErrorCode::malformed_file, fmt::format("tensor {} is missing", quote(name)));
  if (tensor->shape != shape) {
    throw Error(ErrorCode::malformed_file,
                fmt::format("tensor {} has shape [{}]; the metadata ask for [{}]", quote(name),
                            fmt::join(tensor->shape, ", "), fmt::join(shape, ", ")));
  }
  read_.insert(tensor->name);
  return *tensor;
}

kernels::WeightSource TensorReader::matrix(std::string_view name, std::uint64_t rows, std::uint64_t columns) {
  const GgufTensor& tensor = require(name, {columns, rows});
  const auto type = find_weight_type(tensor.type);
  if (!type) {
    throw Error(ErrorCode::unsupported, fmt::format("tensor {} is stored as {}, which is not computed; quantize the "
                                                    "model to another type, such as Q4_K or Q8_0",
                                                    quote(name), to_string(tensor.type)));
  }
  CHECK(tensor.bytes.size() == rows * kernels::weight_row_bytes(*type, columns), tensor.bytes.size(), rows, columns);
  return {.type = *type, .rows = rows, .columns = columns, .bytes = tensor.bytes};
}

std::vector<float> TensorReader::vector(std::string_view name, std::uint64_t size) {
  const GgufTensor& tensor = require(name, {size});
  if (find_weight_type(tensor.type) != kernels::WeightType::f32) {
    throw Error(ErrorCode::unsupported, fmt::format("tensor {} is stored as {}; norms and biases are read as F32: "
                                                    "convert the model anew",
                                                    quote(name), to_string(tensor.type)));
  }
  std::vector<float> values(size);
  std::memcpy(values.data(), tensor.bytes.data(), tensor.bytes.size());
  return values;
}

void TensorReader::refuse_unread() const {
  for (const GgufTensor& tensor : file_.tensors()) {
    if (read_.contains(tensor.name)) continue;
    std::string_view reason = "it is no part of a plain model of this kind; use a file without it";
    if (tensor.name.ends_with(".bias")) reason = "models of this kind have no such bias; use a file without it";
    if (tensor.name.find("_exps") != std::string_view::npos || tensor.name.find("_inp") != std::string_view::npos) {
      reason = "a mixture of experts is not computed; use a dense model";
    }
    if (tensor.name.starts_with("v.") || tensor.name.starts_with("mm.")) {
      reason = "images are not seen; use the file of the language model alone";
    }
    throw Error(ErrorCode::unsupported, fmt::format("tensor {}: {}", quote(tensor.name), reason));
  }
}

// Rows [first, first + count) of a matrix.
kernels::WeightSource rows_of(const kernels::WeightSource& matrix, std::uint64_t first, std::uint64_t count) {
  const std::size_t row_bytes = kernels::weight_row_bytes(matrix.type, matrix.columns);
  return {matrix.type, count, matrix.columns, matrix.bytes.subspan(first * row_bytes, count * row_bytes)};
}

// Finds the tensors of one layer.
class LayerReader final {
 public:
  LayerReader(TensorReader& tensors, const Hyperparameters& model, std::uint32_t index)
      : tensors_(tensors), model_(model), prefix_(fmt::format("blk.{}.", index)) {}

  Layer read() {
    const Architecture& family = *model_.architecture;
    const std::uint64_t query_width = std::uint64_t{model_.query_heads} * model_.head_dim;
    Layer layer;
    layer.attention_norm = norm("attn_norm", model_.embedding);
    read_queries_keys_values(layer, query_width);
    if (family.has_head_norms) {
      layer.query_norm = norm("attn_q_norm", model_.head_dim);
      layer.key_norm = norm("attn_k_norm", model_.head_dim);
    }
    layer.output = product("attn_output", model_.embedding, query_width, family.biases == Biases::optional);
    if (family.has_post_norms) layer.attention_post_norm = norm("post_attention_norm", model_.embedding);
    layer.feed_forward_norm = norm("ffn_norm", model_.embedding);
    read_gate_and_up(layer);
    layer.down = product("ffn_down", model_.embedding, model_.feed_forward, family.biases == Biases::optional);
    if (family.has_post_norms) layer.feed_forward_post_norm = norm("post_ffw_norm", model_.embedding);
    return layer;
  }

 private:
  void read_queries_keys_values(Layer& layer, std::uint64_t query_width) {
    const Architecture& family = *model_.architecture;
    const std::uint64_t kv_width = std::uint64_t{model_.kv_heads} * model_.head_dim;
    if (family.has_fused_products && tensors_.contains(prefix_ + "attn_qkv.weight")) {
      const auto fused = tensors_.matrix(prefix_ + "attn_qkv.weight", query_width + 2 * kv_width, model_.embedding);
      layer.query.source = rows_of(fused, 0, query_width);
      layer.key.source = rows_of(fused, query_width, kv_width);
      layer.value.source = rows_of(fused, query_width + kv_width, kv_width);
      return;
    }
    const bool may_be_biased = family.biases != Biases::none;
    layer.query = product("attn_q", query_width, model_.embedding, may_be_biased);
    layer.key = product("attn_k", kv_width, model_.embedding, may_be_biased);
    layer.value = product("attn_v", kv_width, model_.embedding, may_be_biased);
  }

  void read_gate_and_up(Layer& layer) {
    const Architecture& family = *model_.architecture;
    if (family.has_fused_products) {
      const std::uint64_t width = model_.feed_forward;
      const auto fused = tensors_.matrix(prefix_ + "ffn_up.weight", 2 * width, model_.embedding);
      layer.gate.source = rows_of(fused, 0, width);
      layer.up.source = rows_of(fused, width, width);
      return;
    }
    layer.gate = product("ffn_gate", model_.feed_forward, model_.embedding, family.biases == Biases::optional);
    layer.up = product("ffn_up", model_.feed_forward, model_.embedding, family.biases == Biases::optional);
  }

  std::vector<float> norm(std::string_view name, std::uint64_t size) {
    return tensors_.vector(fmt::format("{}{}.weight", prefix_, name), size);
  }

  Product product(std::string_view name, std::uint64_t outputs, std::uint64_t inputs, bool may_be_biased) {
    Product product;
    product.source = tensors_.matrix(fmt::format("{}{}.weight", prefix_, name), outputs, inputs);
    const std::string bias = fmt::format("{}{}.bias", prefix_, name);
    const bool is_biased =
        may_be_biased && (model_.architecture->biases == Biases::attention || tensors_.contains(bias));
    if (is_biased) product.bias = tensors_.vector(bias, outputs);
    return product;
  }

  TensorReader& tensors_;
  const Hyperparameters& model_;
  std::string prefix_;
};

void pack_weights(Model& model, kernels::Backend& backend) {
  const auto pack = [&backend](Product& product) { product.weight = backend.pack(product.source); };
  for (Layer& layer : model.layers) {
    for (Product* product :
         {&layer.query, &layer.key, &layer.value, &layer.output, &layer.gate, &layer.up, &layer.down}) {
      pack(*product);
    }
  }
  pack(model.head);
}

std::unique_ptr<Model> build_model(GgufFile file, kernels::Backend& backend) {
  auto model = std::make_unique<Model>(Model{.file = std::move(file), .hyperparameters = {}, .embeddings = {}});
  model->hyperparameters = read_hyperparameters(model->file);
  const Hyperparameters& numbers = model->hyperparameters;
  TensorReader tensors(model->file);
  model->embeddings = tensors.matrix("token_embd.weight", numbers.vocabulary, numbers.embedding);
  for (std::uint32_t layer = 0; layer < numbers.layers; ++layer) {
    model->layers.push_back(LayerReader(tensors, numbers, layer).read());
  }
  model->output_norm = tensors.vector("output_norm.weight", numbers.embedding);
  model->head.source = tensors.contains("output.weight")
                           ? tensors.matrix("output.weight", numbers.vocabulary, numbers.embedding)
                           : model->embeddings;
  tensors.refuse_unread();
  pack_weights(*model, backend);
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
