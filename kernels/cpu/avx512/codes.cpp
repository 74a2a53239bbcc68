// Products in 8-bit integers (code_kernels.h): one instruction of VNNI adds four columns of 16 outputs. Integers and
// the float chains that they end in stand side by side in registers: 6 rows and 2 vectors take 12 of each.
#include "kernels/cpu/code_kernels.h"

#include <immintrin.h>

#include "kernels/cpu/avx512/weights.h"

namespace rotulus::kernels::cpu {
namespace avx512 {
namespace {

constexpr int kVectors = kCodeOutputs / 16;
constexpr std::size_t kBlockSteps = kWeightBlock / 4;  // of four columns

template <WeightType kType>
constexpr WeightForm kFormOf = form_of(kType, Packing::bytes);

__mmask16 first_outputs(std::size_t count) {
  return count >= 16 ? 0xffff : static_cast<__mmask16>((1u << count) - 1);
}

// Four of the bytes of a rounded row, in all lanes.
[[gnu::always_inline]] inline __m512i four_inputs(const float* q) {
  return _mm512_castps_si512(_mm512_set1_ps(*q));
}

// Turns the codes of four columns and 16 outputs, taken out of their words, into unsigned bytes.
template <WeightType kType>
class Bytes {
 public:
  Bytes() {
    constexpr WeightForm kForm = kFormOf<kType>;
    if constexpr (kForm.codebook != nullptr) {
      const __m128i values = _mm_loadu_si128(reinterpret_cast<const __m128i*>(kForm.codebook));
      book_ = _mm512_broadcast_i32x4(_mm_xor_si128(values, _mm_set1_epi8(static_cast<char>(0x80))));
    }
  }
  // Step `step` of the 8 of a block.
  [[gnu::always_inline]] __m512i of(const std::byte* block, std::size_t step) const {
    constexpr WeightForm kForm = kFormOf<kType>;
    constexpr std::size_t kPerByte = 8 / kForm.bits;
    __m512i words = _mm512_loadu_si512(block + step / kPerByte * 64);
    if constexpr (kForm.bits < 8) {
      words = _mm512_srli_epi32(words, static_cast<unsigned>(step % kPerByte * kForm.bits));
      words = _mm512_and_si512(words, _mm512_set1_epi8((1 << kForm.bits) - 1));
    }
    if constexpr (kForm.codebook != nullptr) words = _mm512_shuffle_epi8(book_, words);
    return words;
  }

 private:
  __m512i book_;
};

template <WeightType kType>
struct QuantizeRow {
  static void run(const float* x, std::size_t columns, float* row) {
    constexpr WeightForm kForm = form_of(kType);
    if constexpr (kForm.is_quantized()) {
      for (std::size_t k = 0; k < columns; k += kWeightBlock, row += row_block_floats(kForm)) {
        const __m512 low = _mm512_loadu_ps(x + k);
        const __m512 high = _mm512_loadu_ps(x + k + 16);
        const __m512i magnitudes =
            _mm512_max_epu32(_mm512_castps_si512(_mm512_abs_ps(low)), _mm512_castps_si512(_mm512_abs_ps(high)));
        const std::uint32_t largest = _mm512_reduce_max_epu32(magnitudes);
        const bool is_finite = largest < kInfinityBits;
        const bool is_zero = largest < kTinyBits || !is_finite;
        const float magnitude = __builtin_bit_cast(float, largest);
        const __m512 inverse = _mm512_set1_ps(is_zero ? 0.0f : kLargestCode / magnitude);
        const float scale = !is_finite ? __builtin_nanf("") : is_zero ? 0.0f : magnitude / kLargestCode;
        const __mmask16 used = is_zero ? 0 : 0xffff;
        const __m512i first = _mm512_maskz_cvtps_epi32(used, _mm512_mul_ps(low, inverse));
        const __m512i second = _mm512_maskz_cvtps_epi32(used, _mm512_mul_ps(high, inverse));
        _mm_storeu_si128(reinterpret_cast<__m128i*>(row), _mm512_cvtepi32_epi8(first));
        _mm_storeu_si128(reinterpret_cast<__m128i*>(row + 4), _mm512_cvtepi32_epi8(second));
        row[kScaleAt] = scale;
        if constexpr (kForm.scale_columns == 32) {
          row[kOffsetsAt] = offset(_mm512_reduce_add_epi32(_mm512_add_epi32(first, second)), scale);
        } else {
          row[kOffsetsAt] = offset(_mm512_reduce_add_epi32(first), scale);
          row[kOffsetsAt + 1] = offset(_mm512_reduce_add_epi32(second), scale);
        }
      }
    }
  }
  static float offset(std::int32_t sum, float scale) {
    constexpr WeightForm kForm = form_of(kType);
    return kForm.has_minimum ? static_cast<float>(sum) * scale : __builtin_bit_cast(float, -code_bias(kForm) * sum);
  }
};

template <WeightType kType>
struct UnpackCodes {
  static void run(const PackedView& weight, std::size_t first_group, std::size_t first_block, std::size_t blocks,
                  float* panel) {
    constexpr WeightForm kForm = kFormOf<kType>;
    if constexpr (kForm.is_quantized()) {
      const Bytes<kType> bytes;
      for (std::size_t g = 0; g < kVectors; ++g) {
        const std::byte* const data = weight.data + (first_group + g) * weight.group_bytes;
        float* to = panel + g * 16;
        for (std::size_t b = first_block; b < first_block + blocks; ++b, to += panel_block_floats(kForm)) {
          const std::byte* const header = data + kForm.header_at(b);
          const std::byte* const block = data + kForm.block_at(b);
#pragma GCC unroll 8
          for (std::size_t step = 0; step < kBlockSteps; ++step) {
            _mm512_storeu_si512(to + step * kCodeOutputs, bytes.of(block, step));
          }
          for (std::size_t part = 0; part < kForm.scales_per_block(); ++part) {
            _mm512_storeu_ps(to + kPanelScalesAt + part * kCodeOutputs,
                             scales_of<kType, Packing::bytes>(header, block, part));
            if constexpr (kForm.has_minimum) {
              _mm512_storeu_ps(to + panel_minimums_at(kForm) + part * kCodeOutputs,
                               minimums_of<kType, Packing::bytes>(header, block, part));
            }
          }
        }
      }
    }
  }
};

// What a chain of integers begins with.
template <bool kHasMinimum>
[[gnu::always_inline]] inline __m512i begin_dot(float offset) {
  if constexpr (kHasMinimum) return _mm512_setzero_si512();
  return _mm512_castps_si512(_mm512_set1_ps(offset));
}

// The float terms of one run of columns.
template <bool kHasMinimum>
[[gnu::always_inline]] inline __m512 add_terms(__m512 sum, __m512i dot, __m512 weight_scale, __m512 minimum,
                                               __m512 scale, __m512 offset) {
  sum = _mm512_fmadd_ps(weight_scale, _mm512_mul_ps(_mm512_cvtepi32_ps(dot), scale), sum);
  if constexpr (kHasMinimum) sum = _mm512_fmadd_ps(minimum, offset, sum);
  return sum;
}

// A form with these scales, for what does not depend on the codes.
template <std::size_t kScaleColumns, bool kHasMinimum>
constexpr WeightForm kScalesOnly{.bits = 8, .has_minimum = kHasMinimum, .scale_columns = kScaleColumns};

// The rows of a tile by two pointers and one stride: row r is a base, an index and a displacement of one instruction.
// Left to itself, the compiler makes a pointer for each operand and keeps them in memory.
template <int kRows>
class Rows {
 public:
  Rows(const float* first, std::size_t stride) : low_(first), high_(first + 3 * stride), stride_(stride) {
    asm("" : "+r"(high_));  // nothing of the other
  }
  [[gnu::always_inline]] const float* of(int row) const {
    return row < 3 ? low_ + row * stride_ : high_ + (row - 3) * stride_;
  }
  [[gnu::always_inline]] void advance(std::size_t floats) {
    low_ += floats;
    high_ += floats;
    asm("" : "+r"(low_), "+r"(high_));
  }

 private:
  const float* low_;
  const float* high_;
  std::size_t stride_;
};

template <int kRows, std::size_t kScaleColumns, bool kHasMinimum>
[[gnu::noinline]] void multiply_tile(const CodeProduct& product, std::size_t first_row) {
  constexpr WeightForm kForm = kScalesOnly<kScaleColumns, kHasMinimum>;
  constexpr std::size_t kSteps = kScaleColumns / 4;
  const CodeProduct p = product;  // stores to y cannot change it
  Rows<kRows> x(p.x + first_row * p.x_stride, p.x_stride);
  const float* panel = p.panel;
  float* const y = p.y + first_row * p.y_stride;
  const __mmask16 masks[kVectors] = {first_outputs(p.outputs), first_outputs(p.outputs > 16 ? p.outputs - 16 : 0)};
  __m512 sums[kRows][kVectors];
#pragma GCC unroll 6
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) {
      // What the next rows begin with.
      _mm_prefetch(reinterpret_cast<const char*>(y + (kRows + r) * p.y_stride + 16 * v), _MM_HINT_T0);
      sums[r][v] = p.extend ? _mm512_maskz_loadu_ps(masks[v], y + r * p.y_stride + 16 * v) : _mm512_setzero_ps();
    }
  }
  for (std::size_t b = p.blocks; b > 0; --b) {
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r) {  // the same block of the rows that come after these
      _mm_prefetch(reinterpret_cast<const char*>(x.of(r) + kRows * p.x_stride), _MM_HINT_T0);
    }
    for (std::size_t part = 0; part < kForm.scales_per_block(); ++part) {
      __m512i dots[kRows][kVectors];
#pragma GCC unroll 6
      for (int r = 0; r < kRows; ++r) {
        dots[r][0] = dots[r][1] = begin_dot<kHasMinimum>(x.of(r)[kOffsetsAt + part]);
      }
#pragma GCC unroll 8
      for (std::size_t step = part * kSteps; step < (part + 1) * kSteps; ++step) {
        const __m512i low = _mm512_loadu_si512(panel + step * kCodeOutputs);
        const __m512i high = _mm512_loadu_si512(panel + step * kCodeOutputs + 16);
#pragma GCC unroll 6
        for (int r = 0; r < kRows; ++r) {
          const __m512i inputs = four_inputs(x.of(r) + step);
          dots[r][0] = _mm512_dpbusd_epi32(dots[r][0], low, inputs);
          dots[r][1] = _mm512_dpbusd_epi32(dots[r][1], high, inputs);
        }
      }
      const float* const weight_scales = panel + kPanelScalesAt + part * kCodeOutputs;
      const float* const minimums = kHasMinimum ? panel + panel_minimums_at(kForm) + part * kCodeOutputs : panel;
#pragma GCC unroll 6
      for (int r = 0; r < kRows; ++r) {
        const __m512 scale = _mm512_set1_ps(x.of(r)[kScaleAt]);
        const __m512 offset = _mm512_set1_ps(x.of(r)[kOffsetsAt + part]);
#pragma GCC unroll 2
        for (int v = 0; v < kVectors; ++v) {
          sums[r][v] = add_terms<kHasMinimum>(sums[r][v], dots[r][v], _mm512_loadu_ps(weight_scales + 16 * v),
                                              _mm512_loadu_ps(minimums + 16 * v), scale, offset);
        }
      }
    }
    x.advance(row_block_floats(kForm));
    panel += panel_block_floats(kForm);
  }
#pragma GCC unroll 6
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) {
      _mm512_mask_storeu_ps(y + r * p.y_stride + 16 * v, masks[v], sums[r][v]);
    }
  }
}

template <std::size_t kScaleColumns, bool kHasMinimum>
void multiply_rows(const CodeProduct& p) {
  std::size_t row = 0;
  for (; p.rows - row >= 6; row += 6) multiply_tile<6, kScaleColumns, kHasMinimum>(p, row);
  if (p.rows - row >= 3) {
    multiply_tile<3, kScaleColumns, kHasMinimum>(p, row);
    row += 3;
  }
  if (p.rows - row == 2) {
    multiply_tile<2, kScaleColumns, kHasMinimum>(p, row);
  } else if (p.rows - row == 1) {
    multiply_tile<1, kScaleColumns, kHasMinimum>(p, row);
  }
}

// Straight from the packed weights, for kGroups groups of 16 outputs and kRows rows.
template <WeightType kType, int kRows, int kGroups>
[[gnu::noinline]] void few_tile(const DecodeProduct& p, std::size_t group, std::size_t first_row) {
  constexpr WeightForm kForm = kFormOf<kType>;
  constexpr std::size_t kSteps = kForm.scale_columns / 4;
  const float* x = p.x + first_row * p.x_stride;
  const std::byte* const data = p.weight.data + group * p.weight.group_bytes;
  const Bytes<kType> bytes;
  __m512 sums[kRows][kGroups];
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int g = 0; g < kGroups; ++g) sums[r][g] = _mm512_setzero_ps();
  }
  for (std::size_t b = 0; b < p.weight.columns / kWeightBlock; ++b, x += row_block_floats(kForm)) {
#pragma GCC unroll 4
    for (int g = 0; g < kGroups; ++g) {
      const std::byte* const header = data + g * p.weight.group_bytes + kForm.header_at(b);
      const std::byte* const block = data + g * p.weight.group_bytes + kForm.block_at(b);
      // The same block of the groups that come after these.
      for (std::size_t line = 0; line < kForm.block_bytes(); line += 64) {
        _mm_prefetch(reinterpret_cast<const char*>(block) + kGroups * p.weight.group_bytes + line, _MM_HINT_T1);
      }
      for (std::size_t part = 0; part < kForm.scales_per_block(); ++part) {
        __m512i dots[kRows];
#pragma GCC unroll 4
        for (int r = 0; r < kRows; ++r) dots[r] = begin_dot<kForm.has_minimum>(x[r * p.x_stride + kOffsetsAt + part]);
#pragma GCC unroll 8
        for (std::size_t step = part * kSteps; step < (part + 1) * kSteps; ++step) {
          const __m512i codes = bytes.of(block, step);
#pragma GCC unroll 4
          for (int r = 0; r < kRows; ++r) {
            dots[r] = _mm512_dpbusd_epi32(dots[r], codes, four_inputs(x + r * p.x_stride + step));
          }
        }
        const __m512 weight_scale = scales_of<kType, Packing::bytes>(header, block, part);
        __m512 minimum = _mm512_setzero_ps();
        if constexpr (kForm.has_minimum) minimum = minimums_of<kType, Packing::bytes>(header, block, part);
#pragma GCC unroll 4
        for (int r = 0; r < kRows; ++r) {
          sums[r][g] = add_terms<kForm.has_minimum>(sums[r][g], dots[r], weight_scale, minimum,
                                                    _mm512_set1_ps(x[r * p.x_stride + kScaleAt]),
                                                    _mm512_set1_ps(x[r * p.x_stride + kOffsetsAt + part]));
        }
      }
    }
  }
#pragma GCC unroll 4
  for (int g = 0; g < kGroups; ++g) {
    const std::size_t output = (group + g) * kGroupOutputs;
    const __mmask16 mask = first_outputs(output < p.weight.rows ? p.weight.rows - output : 0);
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r)
      _mm512_mask_storeu_ps(p.y + (first_row + r) * p.y_stride + output, mask, sums[r][g]);
  }
}

template <WeightType kType>
struct MultiplyFew {
  template <int kRows, int kGroups>
  static void panel(const DecodeProduct& p, std::size_t first, std::size_t row) {
    for (std::size_t group = first; group < first + kPanelGroups; group += kGroups) {
      few_tile<kType, kRows, kGroups>(p, group, row);
    }
  }
  // All rows against one panel of 64 outputs while it lies in the caches.
  static void run(const DecodeProduct& p) {
    if constexpr (form_of(kType).is_quantized()) {
      for (std::size_t first = p.first_group; first < p.first_group + p.groups; first += kPanelGroups) {
        std::size_t row = 0;
        for (; p.rows - row >= 4; row += 4) panel<4, 2>(p, first, row);
        for (; p.rows - row >= 2; row += 2) panel<2, 4>(p, first, row);
        if (row < p.rows) panel<1, 4>(p, first, row);
      }
    }
  }
};

void quantize_row(WeightType type, const float* x, std::size_t columns, float* row) {
  for_type<QuantizeRow>(type, x, columns, row);
}

void unpack_codes(const PackedView& weight, std::size_t first_group, std::size_t first_block, std::size_t blocks,
                  float* panel) {
  for_type<UnpackCodes>(weight.type, weight, first_group, first_block, blocks, panel);
}

void multiply_codes(const CodeProduct& p) {
  const WeightForm form = form_of(p.type, Packing::bytes);
  if (form.scale_columns == 32) {
    form.has_minimum ? multiply_rows<32, true>(p) : multiply_rows<32, false>(p);
  } else {
    form.has_minimum ? multiply_rows<16, true>(p) : multiply_rows<16, false>(p);
  }
}

void multiply_few(const DecodeProduct& p) {
  for_type<MultiplyFew>(p.weight.type, p);
}

}  // namespace
}  // namespace avx512

const CodeKernels& avx512_code_kernels() {
  static constexpr CodeKernels kKernels = {.quantize_row = avx512::quantize_row,
                                           .unpack_codes = avx512::unpack_codes,
                                           .multiply_codes = avx512::multiply_codes,
                                           .multiply_few = avx512::multiply_few};
  return kKernels;
}

}  // namespace rotulus::kernels::cpu
