// Views that the verbs of backend.h take. They own nothing; the caller keeps the memory alive until the stream has
// passed the verb. All strides are in elements.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/kv_format.h"

namespace rotulus::kernels {

// Rows of float32; `stride` >= columns. A ConstMatrix of stride 0 is one row, as often as there are rows (a bias).
struct Matrix {
  float* data = nullptr;
  std::size_t rows = 0;
  std::size_t columns = 0;
  std::size_t stride = 0;
  float* row(std::size_t index) const { return data + index * stride; }
};

struct ConstMatrix {
  const float* data = nullptr;
  std::size_t rows = 0;
  std::size_t columns = 0;
  std::size_t stride = 0;
  ConstMatrix() = default;
  ConstMatrix(const float* data, std::size_t rows, std::size_t columns, std::size_t stride)
      : data(data), rows(rows), columns(columns), stride(stride) {}
  ConstMatrix(Matrix other) : data(other.data), rows(other.rows), columns(other.columns), stride(other.stride) {}
  const float* row(std::size_t index) const { return data + index * stride; }
};

// How GGUF stores a weight. The quantized types store blocks of 32 or 256 weights along a row.
enum class WeightType : std::uint8_t {
  f32,
  f16,
  bf16,
  q8_0,
  q4_0,
  q4_1,
  q5_0,
  q5_1,
  q2_k,
  q3_k,
  q4_k,
  q5_k,
  q6_k,
  iq4_nl,
  iq4_xs,
  mxfp4
};
std::string_view to_string(WeightType type);
std::size_t weight_block_columns(WeightType type);                   // 1, 32 or 256; a row holds whole blocks
std::size_t weight_row_bytes(WeightType type, std::size_t columns);  // columns a multiple of weight_block_columns

// A weight as it lies in the file: `rows` outputs of `columns` inputs, row-major, tightly packed.
struct WeightSource {
  WeightType type = WeightType::f32;
  std::size_t rows = 0;     // outputs
  std::size_t columns = 0;  // inputs
  std::span<const std::byte> bytes;
};

// One block of one layer, in its stored form (kv_format.h), as attention sees it.
struct KvBlock {
  const std::byte* data = nullptr;  // block_bytes(), 64-byte aligned
  std::uint32_t token_count = 0;    // tokens in use, 1..128; the others add nothing, whatever their memory holds
  std::int64_t first_position = 0;  // document position of its first token
  std::int64_t shift = 0;           // the query at position i sees the block as if i were i - shift; 0 is exact
  std::uint8_t page_mask = 0xff;    // bit p: the 16 tokens from 16p on are attended
  const std::uint8_t* head_masks = nullptr;  // [kv_heads]: a page mask for each KV head instead
};

// Up to four blocks that share one online-softmax update: one stripe of a context, or of a request's tail. Blocks are
// given in ascending position, at most one per quarter of the stripe.
struct Stripe {
  std::uint32_t lane = 0;         // 0..255; stripes of one call are ordered by (lane, position)
  std::uint32_t first_block = 0;  // index into AttendTask::blocks
  std::uint32_t block_count = 0;  // 1..4
};

// A partial attention: the attention of some queries over some keys. `out` is normalized; lse is the natural log of
// the sum of exponentials, -inf where no key was seen (then out is zero). Only partials are ever combined.
struct Partial {
  float* out = nullptr;  // [rows, query_heads, head_dim]
  float* lse = nullptr;  // [rows, query_heads]
};
struct ConstPartial {
  const float* out = nullptr;
  const float* lse = nullptr;
};

}  // namespace rotulus::kernels
