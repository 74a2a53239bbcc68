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

[[gnu::always_inline]] inline __m512i four_inputs(const std::int8_t* q) {
  std::int32_t bytes;
  __builtin_memcpy(&bytes, q, sizeof bytes);
  return _mm512_set1_epi32(bytes);
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
      auto* q = reinterpret_cast<std::int8_t*>(row);
      float* scales = row + scales_at(columns);
      float* offsets = row + offsets_at(columns);
      for (std::size_t k = 0; k < columns; k += kWeightBlock, ++scales, offsets += kForm.scales_per_block()) {
        const __m512 low = _mm512_loadu_ps(x + k);
        const __m512 high = _mm512_loadu_ps(x + k + 16);
        const __m512i magnitudes =
            _mm512_max_epu32(_mm512_castps_si512(_mm512_abs_ps(low)), _mm512_castps_si512(_mm512_abs_ps(high)));
        const std::uint32_t largest = _mm512_reduce_max_epu32(magnitudes);
        const bool is_finite = largest < kInfinityBits;
        const bool is_zero = largest < kTinyBits || !is_finite;
        const float magnitude = __builtin_bit_cast(float, largest);
        const __m512 inverse = _mm512_set1_ps(is_zero ? 0.0f : kLargestCode / magnitude);
        *scales = !is_finite ? __builtin_nanf("") : is_zero ? 0.0f : magnitude / kLargestCode;
        const __mmask16 used = is_zero ? 0 : 0xffff;
        const __m512i first = _mm512_maskz_cvtps_epi32(used, _mm512_mul_ps(low, inverse));
        const __m512i second = _mm512_maskz_cvtps_epi32(used, _mm512_mul_ps(high, inverse));
        _mm_storeu_si128(reinterpret_cast<__m128i*>(q + k), _mm512_cvtepi32_epi8(first));
        _mm_storeu_si128(reinterpret_cast<__m128i*>(q + k + 16), _mm512_cvtepi32_epi8(second));
        if constexpr (kForm.scale_columns == 32) {
          offsets[0] = offset(_mm512_reduce_add_epi32(_mm512_add_epi32(first, second)), *scales);
        } else {
          offsets[0] = offset(_mm512_reduce_add_epi32(first), *scales);
          offsets[1] = offset(_mm512_reduce_add_epi32(second), *scales);
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
  static void run(const PackedView& weight, std::size_t first_group, std::size_t first_column, std::size_t depth,
                  float* panel) {
    constexpr WeightForm kForm = kFormOf<kType>;
    if constexpr (kForm.is_quantized()) {
      const Bytes<kType> bytes;
      for (std::size_t g = 0; g < kVectors; ++g) {
        const std::byte* const data = weight.data + (first_group + g) * weight.group_bytes;
        float* to = panel + g * 16;
        float* scales = panel + panel_scales_at(depth) + g * 16;
        float* minimums = panel + panel_minimums_at(kForm, depth) + g * 16;
        for (std::size_t b = first_column / kWeightBlock; b < (first_column + depth) / kWeightBlock; ++b) {
          const std::byte* const header = data + kForm.header_at(b);
          const std::byte* const block = data + kForm.block_at(b);
#pragma GCC unroll 8
          for (std::size_t step = 0; step < kBlockSteps; ++step, to += kCodeOutputs) {
            _mm512_storeu_si512(to, bytes.of(block, step));
          }
          for (std::size_t part = 0; part < kForm.scales_per_block(); ++part, scales += kCodeOutputs) {
            _mm512_storeu_ps(scales, scales_of<kType, Packing::bytes>(header, block, part));
            if constexpr (kForm.has_minimum) {
              _mm512_storeu_ps(minimums, minimums_of<kType, Packing::bytes>(header, block, part));
              minimums += kCodeOutputs;
            }
          }
        }
      }
    }
  }
};

// A rounded row from some column on.
struct Row {
  const std::int8_t* q;
  const float* scales;
  const float* offsets;
};

template <std::size_t kScaleColumns>
[[gnu::always_inline]] inline Row row_at(const float* row, std::size_t columns, std::size_t first_column) {
  return {reinterpret_cast<const std::int8_t*>(row) + first_column,
          row + scales_at(columns) + first_column / kWeightBlock,
          row + offsets_at(columns) + first_column / kScaleColumns};
}

// What a chain of integers begins with.
template <bool kHasMinimum>
[[gnu::always_inline]] inline __m512i begin_dot(const float* offset) {
  if constexpr (kHasMinimum) return _mm512_setzero_si512();
  return _mm512_castps_si512(_mm512_set1_ps(*offset));
}

// The float terms of one run of columns.
template <bool kHasMinimum>
[[gnu::always_inline]] inline __m512 add_terms(__m512 sum, __m512i dot, __m512 weight_scale, __m512 minimum,
                                               float scale, const float* offset) {
  const __m512 term = _mm512_mul_ps(_mm512_cvtepi32_ps(dot), _mm512_set1_ps(scale));
  sum = _mm512_fmadd_ps(weight_scale, term, sum);
  if constexpr (kHasMinimum) sum = _mm512_fmadd_ps(minimum, _mm512_set1_ps(*offset), sum);
  return sum;
}

template <int kRows, std::size_t kScaleColumns, bool kHasMinimum>
[[gnu::noinline]] void multiply_tile(const CodeProduct& product, std::size_t first_row) {
  constexpr std::size_t kSteps = kScaleColumns / 4;
  const CodeProduct p = product;  // stores to y cannot change it
  const Row row = row_at<kScaleColumns>(p.x + first_row * p.x_stride, p.columns, p.first_column);
  const std::size_t byte_stride = p.x_stride * sizeof(float);
  const float* codes = p.panel;
  const float* weight_scales = p.panel + panel_scales_at(p.depth);
  const float* minimums = weight_scales + p.depth / kScaleColumns * kCodeOutputs;
  float* const y = p.y + first_row * p.y_stride;
  const __mmask16 masks[kVectors] = {first_outputs(p.outputs), first_outputs(p.outputs > 16 ? p.outputs - 16 : 0)};
  __m512 sums[kRows][kVectors];
#pragma GCC unroll 6
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) {
      sums[r][v] = p.extend ? _mm512_maskz_loadu_ps(masks[v], y + r * p.y_stride + 16 * v) : _mm512_setzero_ps();
    }
  }
  const std::int8_t* q = row.q;
  for (std::size_t run = 0; run < p.depth / kScaleColumns; ++run) {
    __m512i dots[kRows][kVectors];
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r) {
      dots[r][0] = dots[r][1] = begin_dot<kHasMinimum>(row.offsets + r * p.x_stride + run);
      _mm_prefetch(reinterpret_cast<const char*>(q) + (kRows + r) * byte_stride, _MM_HINT_T0);
    }
#pragma GCC unroll 8
    for (std::size_t step = 0; step < kSteps; ++step) {
      const __m512i low = _mm512_loadu_si512(codes);
      const __m512i high = _mm512_loadu_si512(codes + 16);
      codes += kCodeOutputs;
#pragma GCC unroll 6
      for (int r = 0; r < kRows; ++r) {
        const __m512i inputs = four_inputs(q + r * byte_stride + 4 * step);
        dots[r][0] = _mm512_dpbusd_epi32(dots[r][0], low, inputs);
        dots[r][1] = _mm512_dpbusd_epi32(dots[r][1], high, inputs);
      }
    }
    q += kScaleColumns;
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) {
      const __m512 weight_scale = _mm512_loadu_ps(weight_scales + run * kCodeOutputs + 16 * v);
      const __m512 minimum =
          kHasMinimum ? _mm512_loadu_ps(minimums + run * kCodeOutputs + 16 * v) : _mm512_setzero_ps();
#pragma GCC unroll 6
      for (int r = 0; r < kRows; ++r) {
        sums[r][v] = add_terms<kHasMinimum>(sums[r][v], dots[r][v], weight_scale, minimum,
                                            row.scales[r * p.x_stride + run * kScaleColumns / kWeightBlock],
                                            row.offsets + r * p.x_stride + run);
      }
    }
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
  for (; row < p.rows; ++row) multiply_tile<1, kScaleColumns, kHasMinimum>(p, row);
}

// Straight from the packed weights, for kGroups groups of 16 outputs and kRows rows.
template <WeightType kType, int kRows, int kGroups>
[[gnu::noinline]] void few_tile(const DecodeProduct& p, std::size_t group, std::size_t first_row) {
  constexpr WeightForm kForm = kFormOf<kType>;
  constexpr std::size_t kParts = kForm.scales_per_block();
  constexpr std::size_t kSteps = kForm.scale_columns / 4;
  const Row row = row_at<kForm.scale_columns>(p.x + first_row * p.x_stride, p.weight.columns, 0);
  const std::byte* const data = p.weight.data + group * p.weight.group_bytes;
  const Bytes<kType> bytes;
  __m512 sums[kRows][kGroups];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int g = 0; g < kGroups; ++g) sums[r][g] = _mm512_setzero_ps();
  }
  for (std::size_t b = 0; b < p.weight.columns / kWeightBlock; ++b) {
    const std::int8_t* const q = row.q + b * kWeightBlock;
#pragma GCC unroll 2
    for (std::size_t part = 0; part < kParts; ++part) {
      const float* const offsets = row.offsets + b * kParts + part;
#pragma GCC unroll 4
      for (int g = 0; g < kGroups; ++g) {
        const std::byte* const header = data + g * p.weight.group_bytes + kForm.header_at(b);
        const std::byte* const block = data + g * p.weight.group_bytes + kForm.block_at(b);
        if (part == 0) {  // the same block of the groups that come after these
          for (std::size_t line = 0; line < kForm.block_bytes(); line += 64) {
            _mm_prefetch(reinterpret_cast<const char*>(block) + kGroups * p.weight.group_bytes + line, _MM_HINT_T1);
          }
        }
        __m512i dots[kRows];
#pragma GCC unroll 8
        for (int r = 0; r < kRows; ++r) dots[r] = begin_dot<kForm.has_minimum>(offsets + r * p.x_stride);
#pragma GCC unroll 8
        for (std::size_t step = 0; step < kSteps; ++step) {
          const __m512i codes = bytes.of(block, part * kSteps + step);
#pragma GCC unroll 8
          for (int r = 0; r < kRows; ++r) {
            const std::int8_t* const inputs = q + r * p.x_stride * sizeof(float) + (part * kSteps + step) * 4;
            dots[r] = _mm512_dpbusd_epi32(dots[r], codes, four_inputs(inputs));
          }
        }
        const __m512 weight_scale = scales_of<kType, Packing::bytes>(header, block, part);
        __m512 minimum = _mm512_setzero_ps();
        if constexpr (kForm.has_minimum) minimum = minimums_of<kType, Packing::bytes>(header, block, part);
#pragma GCC unroll 8
        for (int r = 0; r < kRows; ++r) {
          sums[r][g] = add_terms<kForm.has_minimum>(sums[r][g], dots[r], weight_scale, minimum,
                                                    row.scales[r * p.x_stride + b], offsets + r * p.x_stride);
        }
      }
    }
  }
#pragma GCC unroll 4
  for (int g = 0; g < kGroups; ++g) {
    const std::size_t output = (group + g) * kGroupOutputs;
    const __mmask16 mask = first_outputs(output < p.weight.rows ? p.weight.rows - output : 0);
#pragma GCC unroll 8
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

void unpack_codes(const PackedView& weight, std::size_t first_group, std::size_t first_column, std::size_t depth,
                  float* panel) {
  for_type<UnpackCodes>(weight.type, weight, first_group, first_column, depth, panel);
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
