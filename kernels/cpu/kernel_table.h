// What an instruction-set row provides: the inner kernels of the verbs, on raw pointers, for one thread. What is above
// them (shapes, cutting work into pieces, the tree over lanes, threads) is common to all rows and lies in cpu/*.cpp.
//
// The contract of backend.h is kept here: whatever a kernel adds up for one row, it adds in an order that depends on
// the lengths of that row's own operands only. How many rows share a call leaves no trace.
//
// To add a row: write the functions below in cpu/<name>/, compiled as an object library with the flags of that row,
// include nothing there that could emit a weak symbol (a test looks), and name its table in cpu/isa.cpp.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cpu/weight_form.h"
#include "kernels/kv_format.h"
#include "kernels/landmarks.h"
#include "kernels/views.h"

namespace rotulus::kernels::cpu {

// Inputs that one chain of a dense product adds up; the chains of a row are added one to the other. A single chain
// loses about sqrt(inputs / 6) roundings, and behind a token of massive activations the model multiplies that by a
// hundred.
inline constexpr std::size_t kSumRun = 128;

// A packed weight, as weight_form.h describes it. Groups are padded to whole panels.
struct PackedView {
  WeightType type;
  Packing packing;
  std::size_t rows;
  std::size_t columns;
  std::size_t group_bytes;
  const std::byte* data;
};

// y[r][c] (+)= sum over k of x[r][k] panel[k][c], in runs of kSumRun inputs: each is one chain over k ascending from
// zero; the first run is stored, or added to y where `accumulate` is set, and the others are added. panel [depth][64]
// in float32; columns 1..64.
struct PanelProduct {
  const float* x;
  std::size_t x_stride;
  std::size_t rows;
  const float* panel;
  std::size_t depth;
  float* y;
  std::size_t y_stride;
  std::size_t columns;
  bool accumulate;
};

// y[r][o] for the outputs o of groups [first_group, first_group + groups), whole panels. x [rows] as prepare_decode
// left it where weights are quantized.
//
// Quantized: for each run of scale_columns columns, ascending, sum += scale * <values, x> and then, where the type has
// minimums, sum += minimum * (sum of x); <values, x> is one chain of its own. Otherwise runs of kSumRun columns,
// without scales.
struct DecodeProduct {
  PackedView weight;
  std::size_t first_group;
  std::size_t groups;
  const float* x;
  std::size_t x_stride;
  std::size_t rows;
  float* y;
  std::size_t y_stride;
};

// How a head turns: cosines and sines [dims / 2] of one position; entries from `dims` on are only scaled.
struct Rotation {
  const float* cosines;
  const float* sines;
  std::uint32_t dims;
  std::uint32_t head_dim;
  bool neighbours;
  float scale;
};

// Where the keys and values of one KV head lie in a block (kv_format.h), in bytes.
struct KvLayout {
  KvType type;
  std::uint32_t groups;  // of channels that share a scale; 0: no scales
  std::size_t panel_bytes;
  std::size_t key_row_bytes;
  std::size_t key_scales;  // behind the start of a panel
  std::size_t value_row_bytes;
  std::size_t value_scales;  // behind the start of the values
};

// One block of a stripe for one tile of query rows and one KV head. A row head is one query head of one row.
struct FoldBlock {
  const std::byte* keys;  // two panels
  const std::byte* values;
  const float* queries;       // [row_heads][kQueryStride], rotated for this block's shift, times scale * log2(e)
  std::uint32_t token_count;  // 1..128; no row of the tile sees a token behind them
  std::uint8_t page_mask;     // != 0
};

// Folds one stripe into running online softmaxes (base 2): max, sum and out = sum exp2(score - max) * value.
//
// Token t of block b is slot 128 b + t. Row head i sees the slots in [starts[i], limits[i]) that lie in their block's
// token_count and in a page of its mask; all others add nothing, whatever their memory holds.
//
// Where page_max is given, it and page_sum receive the same softmax of each page alone: page p of block b is entry
// 8 b + p; a page of which nothing is seen has max -inf.
struct FoldStripe {
  KvLayout layout;
  std::uint32_t head_dim;
  std::size_t row_heads;
  const FoldBlock* blocks;
  std::uint32_t block_count;    // 1..4
  float soft_cap;               // of scores in base 2; 0: none
  const std::uint32_t* starts;  // [row_heads]
  const std::uint32_t* limits;  // [row_heads]
  float* out;                   // [row_heads][head_dim]
  float* max;                   // [row_heads], -inf at first
  float* sum;                   // [row_heads]
  float* page_max;              // [row_heads][kStripePages], or nullptr
  float* page_sum;              // [row_heads][kStripePages]
  float* scratch;               // fold_scratch_floats(head_dim)
  // The stripe that will probably follow: to be prefetched.
  const FoldBlock* next_blocks;
  std::uint32_t next_block_count;
};

inline constexpr std::size_t kStripePages = kStripeTokens / kPageTokens;
inline constexpr std::size_t kFoldTileRows = 6;   // row heads that share one register tile
inline constexpr std::size_t kFoldRowHeads = 12;  // row heads whose scores lie in scratch at once
// Strides of rows: constants, and no powers of two, with which rows would share cache sets.
inline constexpr std::size_t kQueryStride = kMaxHeadDim + 16;
inline constexpr std::size_t kScoreStride = kStripeTokens + 16;
// Float32 keys and values of a stripe; scores, and weights times the scales of each group.
constexpr std::size_t fold_scratch_floats(std::size_t head_dim) {
  const std::size_t groups = (head_dim + kScaleChannels - 1) / kScaleChannels;
  return 2 * kStripeTokens * head_dim + kFoldRowHeads * kScoreStride + kFoldRowHeads * groups * kScoreStride;
}

// What a merge of two partials (lse_a, lse_b) weighs their outputs with, and its lse; one of each per row head.
//
//   m = max(lse_a, lse_b),  w_x = exp(lse_x - m),  a = w_a / (w_a + w_b),  b = w_b / (w_a + w_b),  lse = m + ln(w_a +
//   w_b)
//
// Where one side is -inf, the other has weight 1 and its own lse, bit for bit. NaN where either is.
struct MergeWeights {
  float* a;
  float* b;
  float* lse;
};

// Scores of some pages of a block for the rows of one KV head: scores[i * stride + page] = max over the page's tokens
// of <queries[i], key~>, every product one chain over the channels ascending. The others' are not written.
struct ScoreBlock {
  LandmarkView landmarks;
  std::uint32_t head_dim;
  std::uint8_t pages;    // bit p: page p
  const float* queries;  // [row_heads][head_dim], times scale
  std::size_t row_heads;
  float* scores;  // [row_heads][8], rows `stride` apart
  std::size_t stride;
  float* scratch;  // score_scratch_floats(head_dim)
};
constexpr std::size_t score_scratch_floats(std::size_t head_dim) {
  return (head_dim + 6) * kPanelTokens;
}

struct KernelTable {
  const char* name;

  // Columns [first_column, first_column + depth) of the 4 groups from first_group on, dequantized: [depth][64].
  void (*unpack_panel)(const PackedView& weight, std::size_t first_group, std::size_t first_column, std::size_t depth,
                       float* panel);
  void (*multiply_panel)(const PanelProduct& product);
  // What decode reads of one row of inputs, for a quantized type: `columns` floats as the row wants them, then, where
  // the type has minimums, the sum of each run of scale_columns inputs.
  void (*prepare_decode)(WeightType type, const float* x, std::size_t columns, float* prepared);
  void (*decode)(const DecodeProduct& product);

  void (*norm)(const float* x, const float* weight, float epsilon, std::size_t count, float* y);
  void (*add)(const float* x, std::size_t count, float* into);
  void (*silu_multiply)(const float* gate, const float* up, std::size_t count, float* y);
  void (*gelu_multiply)(const float* gate, const float* up, std::size_t count, float* y);
  void (*soft_cap)(float cap, std::size_t count, float* x);
  void (*rope_table)(double position, const double* inverse_frequencies, std::size_t pairs, float* cosines,
                     float* sines);
  void (*rotate)(const Rotation& rotation, const float* x, float* y);  // y may be x
  void (*encode_f16)(const float* x, std::size_t count, std::uint16_t* y);

  void (*fold_stripe)(const FoldStripe& fold);
  void (*scale)(const float* x, float factor, std::size_t count, float* y);  // y = factor * x + 0; y may be x
  // lse[i] = max[i] ln 2 + ln sum[i]; -inf where max is.
  void (*log_sums)(const float* max, const float* sum, std::size_t count, float* lse);
  void (*merge_weights)(const float* lse_a, const float* lse_b, std::size_t count, const MergeWeights& into);
  // y = a_weight * a + b_weight * b; y may be a or b.
  void (*blend)(const float* a, float a_weight, const float* b, float b_weight, std::size_t count, float* y);

  void (*score_block)(const ScoreBlock& task);
  float (*sum_scores)(const float* scores, std::size_t count);  // ln sum exp; -inf where count is 0
  void (*raise_votes)(const float* scores, float lse, std::size_t count, float* votes);  // to score - lse
};

namespace scalar {
const KernelTable& kernel_table();
}
namespace avx2 {
const KernelTable& kernel_table();
}
namespace avx512 {
const KernelTable& kernel_table();
}

}  // namespace rotulus::kernels::cpu
