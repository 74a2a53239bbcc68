#include "worker/model/transformer.h"

#include <algorithm>
#include <cmath>

#include "protocol/error.h"

namespace rotulus::worker {

using kernels::ConstMatrix;
using kernels::Matrix;
using kernels::Role;

namespace {

// A matrix that keeps its memory while the number of rows changes from step to step.
class GrowingMatrix {
 public:
  Matrix resize(kernels::Backend& backend, std::size_t rows, std::size_t columns) {
    const std::size_t bytes = std::max<std::size_t>(rows * columns * sizeof(float), 64);
    if (!buffer_ || buffer_->bytes() < bytes) buffer_ = backend.allocate(bytes, kernels::MemoryKind::host);
    view_ = {reinterpret_cast<float*>(buffer_->data()), rows, columns, columns};
    return view_;
  }
  Matrix view() const { return view_; }

 private:
  std::unique_ptr<kernels::Buffer> buffer_;
  Matrix view_;
};

Matrix slice(Matrix matrix, std::size_t begin, std::size_t end) {
  return {matrix.data + begin * matrix.stride, end - begin, matrix.columns, matrix.stride};
}
ConstMatrix slice(ConstMatrix matrix, std::size_t begin, std::size_t end) {
  return {matrix.data + begin * matrix.stride, end - begin, matrix.columns, matrix.stride};
}

// The first `columns` entries of each head, as rows of their own.
Matrix heads_of(Matrix matrix, std::size_t head_dim, std::size_t columns) {
  CHECK(matrix.stride == matrix.columns, matrix.stride, matrix.columns);
  return {matrix.data, matrix.rows * (matrix.columns / head_dim), columns, head_dim};
}

}  // namespace

struct Transformer::Scratch {
  GrowingMatrix residual;   // [rows, embedding]
  GrowingMatrix normed;     // [rows, embedding]
  GrowingMatrix query;      // [rows, query_heads * head_dim]
  GrowingMatrix key;        // [rows, kv_heads * head_dim]
  GrowingMatrix value;      // [rows, kv_heads * head_dim]
  GrowingMatrix attended;   // [rows, query_heads * head_dim]
  GrowingMatrix projected;  // [rows, embedding]
  GrowingMatrix gate;       // [rows, feed_forward]
  GrowingMatrix up;         // [rows, feed_forward]
  GrowingMatrix last;       // [logit rows, embedding]
  GrowingMatrix logits;     // [logit rows, vocabulary]
};

Transformer::Transformer(const Model& model, kernels::Backend& backend)
    : model_(model), backend_(backend), stream_(backend.make_stream()), scratch_(std::make_unique<Scratch>()) {}

Transformer::~Transformer() = default;

ConstMatrix Transformer::forward(const Rows& rows, ContextAttention& attention) {
  const Hyperparameters& h = model_.hyperparameters;
  const std::size_t count = rows.tokens.size();
  CHECK(rows.prefill_count <= count, rows.prefill_count, count);
  prefill_count_ = rows.prefill_count;

  Scratch& s = *scratch_;
  s.residual.resize(backend_, count, h.embedding);
  s.normed.resize(backend_, count, h.embedding);
  s.query.resize(backend_, count, h.query_heads * h.head_dim);
  s.key.resize(backend_, count, h.kv_heads * h.head_dim);
  s.value.resize(backend_, count, h.kv_heads * h.head_dim);
  s.attended.resize(backend_, count, h.query_heads * h.head_dim);
  s.projected.resize(backend_, count, h.embedding);
  s.gate.resize(backend_, count, h.feed_forward);
  s.up.resize(backend_, count, h.feed_forward);

  if (count > 0) backend_.embed(*stream_, model_.embeddings, rows.tokens, s.residual.view());
  if (h.architecture->scales_embeddings) {
    backend_.scale(*stream_, std::sqrt(static_cast<float>(h.embedding)), s.residual.view());
  }
  for (std::uint32_t index = 0; index < h.layers; ++index) {
    attention_half(model_.layers[index], index, attention);
    feed_forward_half(model_.layers[index]);
  }
  return project_logits(rows);
}

void Transformer::attention_half(const Layer& layer, std::uint32_t index, ContextAttention& attention) {
  Scratch& s = *scratch_;
  if (s.residual.view().rows > 0) {
    backend_.norm(*stream_, s.residual.view(), layer.attention_norm, model_.hyperparameters.norm_epsilon,
                  s.normed.view());
    multiply(layer.query, s.normed.view(), s.query.view());
    multiply(layer.key, s.normed.view(), s.key.view());
    multiply(layer.value, s.normed.view(), s.value.view());
    prepare_heads(layer, model_.hyperparameters.attention_of(index));
    stream_->wait();
  }
  attention.attend(index, s.query.view(), s.key.view(), s.value.view(), s.attended.view());
  if (s.residual.view().rows == 0) return;
  multiply(layer.output, s.attended.view(), s.projected.view());
  norm_if_any(layer.attention_post_norm, s.projected.view());
  backend_.add(*stream_, s.projected.view(), s.residual.view());
}

void Transformer::prepare_heads(const Layer& layer, const LayerAttention& attention) {
  const std::size_t head_dim = model_.hyperparameters.head_dim;
  Scratch& s = *scratch_;
  norm_if_any(layer.query_norm, heads_of(s.query.view(), head_dim, head_dim));
  norm_if_any(layer.key_norm, heads_of(s.key.view(), head_dim, head_dim));
  if (attention.turned_query_scale != 1) {
    backend_.scale(*stream_, attention.turned_query_scale, heads_of(s.query.view(), head_dim, attention.rope.dims));
  }
}

void Transformer::feed_forward_half(const Layer& layer) {
  Scratch& s = *scratch_;
  if (s.residual.view().rows == 0) return;
  backend_.norm(*stream_, s.residual.view(), layer.feed_forward_norm, model_.hyperparameters.norm_epsilon,
                s.normed.view());
  multiply(layer.gate, s.normed.view(), s.gate.view());
  multiply(layer.up, s.normed.view(), s.up.view());
  if (model_.hyperparameters.architecture->activation == Activation::silu) {
    backend_.silu_multiply(*stream_, s.gate.view(), s.up.view(), s.gate.view());
  } else {
    backend_.gelu_multiply(*stream_, s.gate.view(), s.up.view(), s.gate.view());
  }
  multiply(layer.down, s.gate.view(), s.projected.view());
  norm_if_any(layer.feed_forward_post_norm, s.projected.view());
  backend_.add(*stream_, s.projected.view(), s.residual.view());
}

ConstMatrix Transformer::project_logits(const Rows& rows) {
  const Hyperparameters& h = model_.hyperparameters;
  Scratch& s = *scratch_;
  const std::size_t count = rows.logit_rows.size();
  Matrix last = s.last.resize(backend_, count, h.embedding);
  Matrix logits = s.logits.resize(backend_, count, h.vocabulary);
  if (count == 0) return logits;
  stream_->wait();
  for (std::size_t i = 0; i < count; ++i) {
    std::copy_n(s.residual.view().row(rows.logit_rows[i]), h.embedding, last.row(i));
  }
  prefill_count_ = static_cast<std::size_t>(
      std::lower_bound(rows.logit_rows.begin(), rows.logit_rows.end(), rows.prefill_count) - rows.logit_rows.begin());
  backend_.norm(*stream_, last, model_.output_norm, h.norm_epsilon, last);
  multiply(model_.head, last, logits);
  if (h.logit_soft_cap != 0) backend_.soft_cap(*stream_, h.logit_soft_cap, logits);
  stream_->wait();
  return logits;
}

void Transformer::multiply(const Product& product, ConstMatrix x, Matrix y) {
  const kernels::PackedWeight& weight = *product.weight;
  if (prefill_count_ > 0) {
    backend_.matmul(*stream_, Role::prefill, weight, slice(x, 0, prefill_count_), slice(y, 0, prefill_count_));
  }
  if (prefill_count_ < x.rows) {
    backend_.matmul(*stream_, Role::decode, weight, slice(x, prefill_count_, x.rows), slice(y, prefill_count_, x.rows));
  }
  if (!product.bias.empty()) backend_.add(*stream_, {product.bias.data(), y.rows, y.columns, 0}, y);
}

void Transformer::norm_if_any(const std::vector<float>& weight, Matrix x) {
  if (!weight.empty()) backend_.norm(*stream_, x, weight, model_.hyperparameters.norm_epsilon, x);
}

}  // namespace rotulus::worker
