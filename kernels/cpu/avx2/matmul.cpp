// Dense products. Codes of any type become floats by the same few steps, a block of 32 columns and 16 outputs at a
// time; prefill multiplies whole panels of them, decode goes through the rows while the block is in L1.
#include "kernels/cpu/avx2/simd.h"
#include "kernels/cpu/row_kernels.h"
#include "kernels/cpu/wide/product.h"

namespace rotulus::kernels::cpu::avx2 {
namespace {

using Floats = Simd::Floats;
constexpr std::size_t kDecodeRows = 4;

std::size_t smaller(std::size_t a, std::size_t b) {
  return a < b ? a : b;
}

Floats load_halves(const std::byte* at) {
  return Simd::load_codes<KvType::f16>(at);
}

// The float values of codes in the lowest bits of the lanes.
class Values {
 public:
  explicit Values(const WeightForm& form)
      : mask_(_mm256_set1_epi32((1 << form.bits) - 1)),
        zero_(_mm256_set1_epi32(static_cast<int>(form.zero))),
        has_codebook_(form.codebook != nullptr) {
    if (!has_codebook_) return;
    codebook_ = _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(form.codebook)));
  }
  [[gnu::always_inline]] __m256 of(__m256i words) const {
    const __m256i codes = _mm256_and_si256(words, mask_);
    if (!has_codebook_) return _mm256_cvtepi32_ps(_mm256_sub_epi32(codes, zero_));
    const __m256i values = _mm256_shuffle_epi8(codebook_, codes);  // only the lowest byte of a lane counts
    return _mm256_cvtepi32_ps(_mm256_srai_epi32(_mm256_slli_epi32(values, 24), 24));
  }

 private:
  __m256i mask_;
  __m256i zero_;
  __m256i codebook_ = _mm256_setzero_si256();
  bool has_codebook_;
};

// The codes of a block as values, not scaled: [32][16].
void unpack_values(const WeightForm& form, const Values& values, const std::byte* block, float* to) {
  const std::size_t per_word = form.codes_per_word();
  const auto bits = static_cast<int>(form.bits);
  for (std::size_t half = 0; half < 2; ++half, block += 32, to += 8) {
    __m256i last_two = _mm256_setzero_si256();
    for (std::size_t v = 0; v < form.bits; ++v) {
      __m256i words = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(block + v * 64));
      for (std::size_t n = 0; n < per_word; ++n) {
        _mm256_storeu_ps(to + (v * per_word + n) * kGroupOutputs, values.of(words));
        words = _mm256_srli_epi32(words, bits);
      }
      last_two = _mm256_or_si256(last_two, _mm256_slli_epi32(words, static_cast<int>(2 * v)));
    }
    if (32 % form.bits == 0) continue;
    _mm256_storeu_ps(to + 30 * kGroupOutputs, values.of(last_two));
    _mm256_storeu_ps(to + 31 * kGroupOutputs, values.of(_mm256_srli_epi32(last_two, bits)));
  }
}

// Of the columns of part `part` of a block, and of 16 outputs; no minimum is a minimum of 0.
struct Scales {
  Floats scale;
  Floats minimum;
};
Scales scales_of(const WeightForm& form, const std::byte* group, std::size_t b, std::size_t part) {
  const std::byte* const block = group + form.block_at(b);
  const std::byte* const scales = block + form.scale_offset(part);
  const std::byte* const minimums = block + form.minimum_offset(part);
  if (form.scale == ScaleKind::f16) {
    return {load_halves(scales), form.has_minimum ? load_halves(minimums) : Simd::zero()};
  }
  if (form.scale == ScaleKind::e8m0) {
    std::uint32_t bits[kGroupOutputs];
    for (std::size_t o = 0; o < kGroupOutputs; ++o) bits[o] = e8m0_half_bits(static_cast<std::uint8_t>(scales[o]));
    return {Simd::load(reinterpret_cast<const float*>(bits)), Simd::zero()};
  }
  const std::byte* const header = group + form.header_at(b);
  const Floats scale = Simd::mul(load_halves(header), Simd::load_codes<KvType::int8>(scales));
  if (!form.has_minimum) return {scale, Simd::zero()};
  float steps[kGroupOutputs];
  for (std::size_t o = 0; o < kGroupOutputs; ++o) steps[o] = static_cast<float>(static_cast<std::uint8_t>(minimums[o]));
  const Floats header_minimum = Simd::sub(Simd::zero(), load_halves(header + 2 * kGroupOutputs));
  return {scale, Simd::mul(header_minimum, Simd::load(steps))};
}

// One column of 16 outputs of a weight that is not quantized.
Floats load_column(WeightType type, const std::byte* group, std::size_t column) {
  if (type == WeightType::f32) return Simd::load_codes<KvType::f32>(group + column * kGroupOutputs * 4);
  const std::byte* const at = group + column * kGroupOutputs * 2;
  return type == WeightType::f16 ? Simd::load_codes<KvType::f16>(at) : Simd::load_codes<KvType::bf16>(at);
}

// Rows [row, row + count) and 16 outputs: sums[r] holds those of a row.
void decode_quantized(const DecodeProduct& p, const std::byte* group, std::size_t row, std::size_t count,
                      Floats (&sums)[kDecodeRows]) {
  const WeightForm form = form_of(p.weight.type);
  const Values table(form);
  for (std::size_t b = 0; b < p.weight.columns / kWeightBlock; ++b) {
    float values[kWeightBlock * kGroupOutputs];
    unpack_values(form, table, group + form.block_at(b), values);
    for (std::size_t part = 0; part < form.scales_per_block(); ++part) {
      const Scales scales = scales_of(form, group, b, part);
      const std::size_t begin = part * form.scale_columns;
      const std::size_t run = b * form.scales_per_block() + part;
      for (std::size_t r = 0; r < count; ++r) {
        const float* const x_of_row = p.x + (row + r) * p.x_stride;
        const float* const x = x_of_row + b * kWeightBlock;
        Floats sum = Simd::zero();
        for (std::size_t k = begin; k < begin + form.scale_columns; ++k) {
          sum = Simd::fma(Simd::load(values + k * kGroupOutputs), Simd::all(x[k]), sum);
        }
        sums[r] = Simd::fma(scales.scale, sum, sums[r]);
        if (!form.has_minimum) continue;
        sums[r] = Simd::fma(scales.minimum, Simd::all(x_of_row[p.weight.columns + run]), sums[r]);
      }
    }
  }
}

void decode_floats(const DecodeProduct& p, const std::byte* group, std::size_t row, std::size_t count,
                   Floats (&sums)[kDecodeRows]) {
  for (std::size_t begin = 0; begin < p.weight.columns; begin += kSumRun) {
    const std::size_t end = begin + smaller(kSumRun, p.weight.columns - begin);
    Floats run[kDecodeRows] = {Simd::zero(), Simd::zero(), Simd::zero(), Simd::zero()};
    for (std::size_t k = begin; k < end; ++k) {
      const Floats column = load_column(p.weight.type, group, k);
      for (std::size_t r = 0; r < count; ++r) {
        run[r] = Simd::fma(column, Simd::all(p.x[(row + r) * p.x_stride + k]), run[r]);
      }
    }
    for (std::size_t r = 0; r < count; ++r) sums[r] = Simd::add(sums[r], run[r]);
  }
}

}  // namespace

void unpack_panel(const PackedView& weight, std::size_t first_group, std::size_t first_column, std::size_t depth,
                  float* panel) {
  const WeightForm form = form_of(weight.type);
  for (std::size_t g = 0; g < kPanelGroups; ++g, panel += kGroupOutputs) {
    const std::byte* const group = weight.data + (first_group + g) * weight.group_bytes;
    if (!form.is_quantized()) {
      for (std::size_t k = 0; k < depth; ++k) {
        Simd::store(panel + k * kPanelColumns, load_column(weight.type, group, first_column + k));
      }
      continue;
    }
    const Values table(form);
    for (std::size_t k = 0; k < depth; k += kWeightBlock) {
      const std::size_t b = (first_column + k) / kWeightBlock;
      float values[kWeightBlock * kGroupOutputs];
      unpack_values(form, table, group + form.block_at(b), values);
      for (std::size_t part = 0; part < form.scales_per_block(); ++part) {
        const Scales scales = scales_of(form, group, b, part);
        for (std::size_t i = part * form.scale_columns; i < (part + 1) * form.scale_columns; ++i) {
          Simd::store(panel + (k + i) * kPanelColumns,
                      Simd::fma(scales.scale, Simd::load(values + i * kGroupOutputs), scales.minimum));
        }
      }
    }
  }
}

void multiply_panel(const PanelProduct& p) {
  std::uint16_t ones[kPanelColumns];  // in f16: runs are added by a product with one
  for (std::uint16_t& one : ones) one = 0x3c00;
  const std::size_t vectors = (p.columns + 15) / 16;
  for (std::size_t row = 0; row < p.rows; row += kFoldTileRows) {
    const std::size_t rows = smaller(kFoldTileRows, p.rows - row);
    // Columns that do not fill a vector go through a tile of their own.
    float tile[kFoldTileRows * kPanelColumns];
    const bool is_ragged = p.columns % 16 != 0;
    float* const y = p.y + row * p.y_stride;
    for (std::size_t r = 0; is_ragged && p.accumulate && r < rows; ++r) {
      __builtin_memcpy(tile + r * kPanelColumns, y + r * p.y_stride, p.columns * sizeof(float));
    }
    Operands operands{.a = p.x + row * p.x_stride,
                      .a_stride = p.x_stride,
                      .b = reinterpret_cast<const std::byte*>(p.panel),
                      .b_stride = kPanelColumns * sizeof(float),
                      .depth = smaller(kSumRun, p.depth),
                      .c = is_ragged ? tile : y,
                      .c_stride = is_ragged ? kPanelColumns : p.y_stride,
                      .scales = reinterpret_cast<const std::byte*>(ones),
                      .next = nullptr};
    for (std::size_t k = 0; k == 0 || k < p.depth; k += kSumRun) {
      operands.depth = smaller(kSumRun, p.depth - k);
      if (k > 0 || p.accumulate) {
        product<Kernel<Simd, KvType::f32, 0, 0, Into::add_scaled>>(rows, vectors, operands);
      } else {
        product<Kernel<Simd, KvType::f32, 0, 0, Into::store>>(rows, vectors, operands);
      }
      operands.a += kSumRun;
      operands.b += kSumRun * operands.b_stride;
    }
    for (std::size_t r = 0; is_ragged && r < rows; ++r) {
      __builtin_memcpy(y + r * p.y_stride, tile + r * kPanelColumns, p.columns * sizeof(float));
    }
  }
}

void prepare_decode(WeightType type, const float* x, std::size_t columns, float* prepared) {
  const WeightForm form = form_of(type);
  __builtin_memcpy(prepared, x, columns * sizeof(float));
  for (std::size_t k = 0; form.has_minimum && k < columns; k += form.scale_columns) {
    const Floats first = Simd::load(x + k);
    const Floats all = form.scale_columns == 32 ? Simd::add(first, Simd::load(x + k + 16)) : first;
    prepared[columns + k / form.scale_columns] = Simd::sum(all);
  }
}

void decode(const DecodeProduct& p) {
  for (std::size_t g = p.first_group; g < p.first_group + p.groups; ++g) {
    const std::size_t output = g * kGroupOutputs;
    if (output >= p.weight.rows) return;
    const Simd::Lanes lanes = Simd::lanes(0, smaller(kGroupOutputs, p.weight.rows - output));
    const std::byte* const group = p.weight.data + g * p.weight.group_bytes;
    for (std::size_t row = 0; row < p.rows; row += kDecodeRows) {
      const std::size_t count = smaller(kDecodeRows, p.rows - row);
      Floats sums[kDecodeRows] = {Simd::zero(), Simd::zero(), Simd::zero(), Simd::zero()};
      if (form_of(p.weight.type).is_quantized()) {
        decode_quantized(p, group, row, count, sums);
      } else {
        decode_floats(p, group, row, count, sums);
      }
      for (std::size_t r = 0; r < count; ++r) Simd::store(lanes, p.y + (row + r) * p.y_stride + output, sums[r]);
    }
  }
}

}  // namespace rotulus::kernels::cpu::avx2
