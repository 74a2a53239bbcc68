// The yardstick of dense products: oneDNN's float32 matmul on one thread, weights packed as it likes them.
//
// Built where libdnnl-dev is installed; otherwise onednn_product() gives an empty function.
#pragma once

#include <cstddef>
#include <functional>

namespace rotulus::benchmarks {

// A function that multiplies x [rows, inputs] with a weight of noise [outputs, inputs].
std::function<void()> onednn_product(std::size_t rows, std::size_t inputs, std::size_t outputs);

}  // namespace rotulus::benchmarks
