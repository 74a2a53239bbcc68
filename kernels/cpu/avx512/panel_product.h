// Products of whole panels (PanelProduct) by the microkernel, in runs of kRun terms.
#pragma once

#include "kernels/cpu/avx512/microkernel.h"
#include "kernels/cpu/kernel_table.h"

namespace rotulus::kernels::cpu::avx512 {
namespace {

constexpr std::size_t smaller(std::size_t a, std::size_t b) {
  return a < b ? a : b;
}

// `rows` rows from `row` on, run after run, into `vectors` vectors of each row of c.
template <typename Term, std::size_t kRun>
void multiply_runs(const PanelProduct& p, std::size_t row, std::size_t rows, std::size_t vectors, float* c,
                   std::size_t c_stride) {
  std::size_t k = 0;
  do {  // no input at all still is one run, which writes zeros
    const std::size_t depth = smaller(kRun, p.depth - k);
    product<Term>(rows, vectors,
                  {.a = p.x + row * p.x_stride + k,
                   .a_stride = p.x_stride,
                   .b = p.panel + k * kPanelColumns,
                   .b_stride = kPanelColumns,
                   .depth = depth,
                   .c = c,
                   .c_stride = c_stride,
                   .accumulate = p.accumulate || k > 0,
                   .next = k + depth < p.depth ? p.x + row * p.x_stride + k + depth : p.x + (row + rows) * p.x_stride});
    k += depth;
  } while (k < p.depth);
}

// Columns that do not fill a vector go through a tile of their own.
template <typename Term, std::size_t kRun>
void multiply_ragged(const PanelProduct& p, std::size_t row, std::size_t rows) {
  float tile[kTileRows * kPanelColumns] = {};
  for (std::size_t r = 0; p.accumulate && r < rows; ++r) {
    for (std::size_t c = 0; c < p.columns; ++c) tile[r * kPanelColumns + c] = p.y[(row + r) * p.y_stride + c];
  }
  multiply_runs<Term, kRun>(p, row, rows, kTileVectors, tile, kPanelColumns);
  for (std::size_t r = 0; r < rows; ++r) {
    for (std::size_t c = 0; c < p.columns; ++c) p.y[(row + r) * p.y_stride + c] = tile[r * kPanelColumns + c];
  }
}

template <typename Term, std::size_t kRun>
void multiply_panel_with(const PanelProduct& p) {
  for (std::size_t row = 0; row < p.rows; row += kTileRows) {
    const std::size_t rows = smaller(kTileRows, p.rows - row);
    if (p.columns % 16 == 0) {
      multiply_runs<Term, kRun>(p, row, rows, p.columns / 16, p.y + row * p.y_stride, p.y_stride);
    } else {
      multiply_ragged<Term, kRun>(p, row, rows);
    }
  }
}

}  // namespace
}  // namespace rotulus::kernels::cpu::avx512
