#include "benchmarks/onednn_product.h"

#include <omp.h>

#include <memory>
#include <oneapi/dnnl/dnnl.hpp>
#include <unordered_map>

namespace rotulus::benchmarks {
namespace {

struct Product {
  dnnl::engine engine{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream{engine};
  dnnl::matmul matmul;
  std::unordered_map<int, dnnl::memory> operands;

  dnnl::memory filled(const dnnl::memory::desc& shape) {
    dnnl::memory memory(shape, engine);
    auto* const floats = static_cast<float*>(memory.get_data_handle());
    for (std::size_t i = 0; i < shape.get_size() / sizeof(float); ++i) floats[i] = static_cast<float>(i % 7) - 3.0f;
    return memory;
  }

  Product(dnnl::memory::dim rows, dnnl::memory::dim inputs, dnnl::memory::dim outputs) {
    using Desc = dnnl::memory::desc;
    using Tag = dnnl::memory::format_tag;
    constexpr auto kFloat = dnnl::memory::data_type::f32;
    const Desc x({rows, inputs}, kFloat, Tag::ab);
    const Desc y({rows, outputs}, kFloat, Tag::ab);
    const Desc any({inputs, outputs}, kFloat, Tag::any);
    const dnnl::matmul::primitive_desc chosen({x, any, y}, engine);
    matmul = dnnl::matmul(chosen);
    operands = {
        {DNNL_ARG_SRC, filled(x)}, {DNNL_ARG_WEIGHTS, filled(chosen.weights_desc())}, {DNNL_ARG_DST, filled(y)}};
  }
};

}  // namespace

std::function<void()> onednn_product(std::size_t rows, std::size_t inputs, std::size_t outputs) {
  using Dim = dnnl::memory::dim;
  omp_set_num_threads(1);
  const auto product =
      std::make_shared<Product>(static_cast<Dim>(rows), static_cast<Dim>(inputs), static_cast<Dim>(outputs));
  return [product] {
    product->matmul.execute(product->stream, product->operands);
    product->stream.wait();
  };
}

}  // namespace rotulus::benchmarks
