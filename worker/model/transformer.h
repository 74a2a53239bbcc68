// START HERE for the maths: the forward pass of a model over some rows, from token ids to logits, read top to bottom
// as the papers do. It knows nothing of contexts, ranks and requests: attention is given to it.
//
// Threads: one thread; scratch memory is kept between calls and grows to the largest step.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "kernels/backend.h"
#include "worker/model/context_attention.h"
#include "worker/model/model.h"

namespace rotulus::worker {

// The rows of one step on this rank: prefill rows first, then decode rows. The two kinds differ in how dense products
// are rounded (kernels::Role), so a row keeps its role for life.
struct Rows {
  std::vector<std::uint32_t> tokens;
  std::size_t prefill_count = 0;
  std::vector<std::size_t> logit_rows;  // ascending: those of which logits are wanted
};

class Transformer final {
 public:
  Transformer(const Model& model, kernels::Backend& backend);
  ~Transformer();

  // Runs all layers. Returns the logits of rows.logit_rows, [logit_rows, vocabulary], valid until the next call.
  // Also to be called where this rank has no rows: attention exchanges with the other ranks.
  kernels::ConstMatrix forward(const Rows& rows, ContextAttention& attention);

 private:
  struct Scratch;
  void attention_half(const Layer& layer, std::uint32_t index, ContextAttention& attention);
  void prepare_heads(const Layer& layer, const LayerAttention& attention);
  void feed_forward_half(const Layer& layer);
  kernels::ConstMatrix project_logits(const Rows& rows);
  // Each row by the product of its role.
  void multiply(const Product& product, kernels::ConstMatrix x, kernels::Matrix y);
  // In place; nothing where the family has no such norm.
  void norm_if_any(const std::vector<float>& weight, kernels::Matrix x);

  const Model& model_;
  kernels::Backend& backend_;
  std::unique_ptr<kernels::Stream> stream_;
  std::unique_ptr<Scratch> scratch_;
  std::size_t prefill_count_ = 0;
};

}  // namespace rotulus::worker
