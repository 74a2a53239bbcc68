// The operands on which the kernels are measured: a model's products and attention, in the sizes that matter.
#pragma once

#include <array>
#include <memory>
#include <vector>

#include "kernels/backend.h"

namespace rotulus::benchmarks {

// The products of one layer of a Llama.
struct LayerShape {
  struct Product {
    std::size_t inputs;
    std::size_t outputs;
  };
  std::size_t embedding;
  std::size_t kv_width;
  std::size_t feed_forward;

  // q, k, v, output, gate, up, down
  std::array<Product, 7> products() const {
    return {{{embedding, embedding},
             {embedding, kv_width},
             {embedding, kv_width},
             {embedding, embedding},
             {embedding, feed_forward},
             {embedding, feed_forward},
             {feed_forward, embedding}}};
  }
};
inline constexpr LayerShape kShape135M{576, 192, 1536};  // SmolLM2-135M
inline constexpr LayerShape kShape1B{2048, 512, 8192};   // Llama 3.2 1B

// The products of each of `layers` layers, filled with noise.
class DenseCase final {
 public:
  DenseCase(kernels::Backend& backend, const LayerShape& shape, kernels::WeightType type, std::size_t layers,
            std::size_t rows);

  void run(kernels::Role role);  // every product once

  double flops() const { return flops_; }  // of one run
  double weight_bytes() const { return weight_bytes_; }
  static double weight_bytes(const LayerShape& shape, kernels::WeightType type);  // of one layer

 private:
  kernels::Backend& backend_;
  std::unique_ptr<kernels::Stream> stream_;
  std::size_t rows_;
  std::vector<std::unique_ptr<kernels::PackedWeight>> weights_;
  std::vector<float> x_;
  std::vector<float> y_;
  double flops_ = 0;
  double weight_bytes_ = 0;
};

struct AttentionShape {
  std::uint32_t query_heads = 9;
  std::uint32_t kv_heads = 3;
  std::uint32_t head_dim = 64;
  std::size_t tokens = 8192;
  std::size_t rows = 512;          // the last positions
  std::size_t layers = 1;          // separate memory, taken in turn
  std::size_t pages_per_kept = 1;  // each KV head attends to one page of so many, drawn at random
};

class AttentionCase final {
 public:
  AttentionCase(kernels::Backend& backend, kernels::KvType type, AttentionShape shape);

  void run();  // one layer

  double flops() const;     // 4 head_dim per head and visible pair
  double kv_bytes() const;  // of the cache lines of one layer in which something is attended

 private:
  void draw_pages();
  std::size_t attended_bytes(const std::uint8_t* masks) const;  // of one block, in whole cache lines

  kernels::Backend& backend_;
  std::unique_ptr<kernels::Stream> stream_;
  AttentionShape shape_;
  kernels::KvFormat format_;
  std::vector<std::unique_ptr<kernels::Buffer>> layers_;
  std::vector<std::vector<kernels::KvBlock>> blocks_;
  std::vector<std::uint8_t> masks_;  // [blocks][kv_heads]
  std::vector<kernels::Stripe> stripes_;
  std::vector<std::int64_t> positions_;
  std::vector<float> queries_;
  std::vector<float> out_;
  std::vector<float> lse_;
  std::size_t next_layer_ = 0;
};

}  // namespace rotulus::benchmarks
