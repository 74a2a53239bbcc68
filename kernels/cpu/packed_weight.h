// Packs weights from the file's layout into groups of 16 interleaved outputs (PackedView), and reads single rows.
#pragma once

#include "kernels/backend.h"
#include "kernels/cpu/buffer.h"
#include "kernels/cpu/kernel_table.h"

namespace rotulus::kernels::cpu {

class CpuPackedWeight final : public PackedWeight {
 public:
  // In bytes, a weight that is not quantized becomes Q8_0, in the same groups of 32 columns; one whose columns are not
  // whole groups is packed in words.
  CpuPackedWeight(const WeightSource& source, Packing packing, ThreadPool& pool);

  std::size_t rows() const override { return view_.rows; }
  std::size_t columns() const override { return view_.columns; }
  std::size_t bytes() const override { return buffer_.bytes(); }
  const PackedView& view() const { return view_; }

 private:
  HostBuffer buffer_;
  PackedView view_;
};

// One row of a weight as it lies in the file; w = scale * q + minimum is one FMA.
void dequantize_row(WeightType type, const std::byte* row, std::size_t columns, float* y);

}  // namespace rotulus::kernels::cpu
