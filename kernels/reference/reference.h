// The specification: every verb of backend.h, naively, in double. Tests compare the ISA rows with it.
//
// Stored forms are read as they are (an f16 key is the f16 number); everything else is computed in double, with the
// standard library's functions, in the order in which the formulas are written.
#pragma once

#include <vector>

#include "kernels/backend.h"

namespace rotulus::kernels::reference {

// Rows of doubles.
struct Table {
  std::size_t rows = 0;
  std::size_t columns = 0;
  std::vector<double> values;
  Table(std::size_t rows, std::size_t columns) : rows(rows), columns(columns), values(rows * columns) {}
  double* row(std::size_t index) { return values.data() + index * columns; }
  const double* row(std::size_t index) const { return values.data() + index * columns; }
};

// Attention or merged attention: out [rows, query_heads, head_dim], lse [rows, query_heads].
struct Attended {
  std::vector<double> out;
  std::vector<double> lse;
};

double decode_f16(std::uint16_t bits);

Table dequantize(const WeightSource& weight);
Table magnitudes(const WeightSource& weight);  // |scale * value| + |minimum| of each weight
Table matmul(const WeightSource& weight, ConstMatrix x);
Table norm(ConstMatrix x, std::span<const float> weight, double epsilon);
Table soft_cap(double cap, ConstMatrix x);
Table silu_multiply(ConstMatrix gate, ConstMatrix up);
Table gelu_multiply(ConstMatrix gate, ConstMatrix up);

// One head at `position`, in place.
void rotate(const Rope& rope, std::int64_t position, double* head);

// Element of a stored block as a number. d in [0, head_dim).
double stored_key(const KvFormat& format, const std::byte* block, std::uint32_t head, std::uint32_t token,
                  std::uint32_t d);
double stored_value(const KvFormat& format, const std::byte* block, std::uint32_t head, std::uint32_t token,
                    std::uint32_t d);

// Over the stripes whose lane lies in `node`; no tree, no tiles: one sum over all keys that a row sees.
Attended attend(const AttendTask& task, LaneSpan node);

// All parts and the tail at once.
Attended merge(const MergeTask& task);

}  // namespace rotulus::kernels::reference
