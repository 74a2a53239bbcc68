// Dense products. Prefill: panels dequantized to float32 and multiplied by the microkernel. Decode: 16 outputs in the
// lanes of a vector, weights dequantized in registers: a nibble becomes a float by one permutation of a table (which
// reads only the four lowest bits of an index, so no masking), and each block of 32 has a sum of its own, which is
// scaled once.
#include <immintrin.h>

#include "kernels/cpu/avx512/kernels.h"
#include "kernels/cpu/avx512/microkernel.h"
#include "kernels/cpu/avx512/vector_math.h"

namespace rotulus::kernels::cpu::avx512 {
namespace {

constexpr std::size_t kBlock = kWeightBlock;

constexpr std::size_t smaller(std::size_t a, std::size_t b) {
  return a < b ? a : b;
}

constexpr bool is_quantized(WeightType type) {
  return type == WeightType::q8_0 || type == WeightType::q4_0 || type == WeightType::q4_1;
}
constexpr std::size_t quant_bytes(WeightType type) {
  return (type == WeightType::q8_0 ? 32 : 16) * kGroupOutputs;
}
constexpr std::size_t block_bytes(WeightType type) {
  return quant_bytes(type) + (type == WeightType::q4_1 ? 4 : 2) * kGroupOutputs;
}

// One column of 16 outputs of a weight that is not quantized.
template <WeightType kType>
[[gnu::always_inline]] inline __m512 load_column(const std::byte* group, std::size_t column) {
  const std::byte* at = group + column * kGroupOutputs * (kType == WeightType::f32 ? 4 : 2);
  if constexpr (kType == WeightType::f32) return _mm512_loadu_ps(at);
  const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at));
  if constexpr (kType == WeightType::f16) return _mm512_cvtph_ps(bits);
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
}

[[gnu::always_inline]] inline __m512 load_scales(const std::byte* at) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(at)));
}

// Value of a nibble: 0..15, or -8..7.
template <WeightType kType>
[[gnu::always_inline]] inline __m512 nibble_table() {
  const __m512 values = _mm512_set_ps(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
  return kType == WeightType::q4_0 ? _mm512_sub_ps(values, _mm512_set1_ps(8)) : values;
}

// Calls step(column, quants) for the 32 columns of kGroups packed blocks, quants [kGroups] not scaled.
template <WeightType kType, int kGroups, typename Step>
[[gnu::always_inline]] inline void for_columns(const std::byte* const (&blocks)[kGroups], const Step& step) {
  __m512 quants[kGroups];
  if constexpr (kType == WeightType::q8_0) {
    for (std::size_t k = 0; k < kBlock; ++k) {
#pragma GCC unroll 4
      for (int g = 0; g < kGroups; ++g) {
        const auto* bytes = reinterpret_cast<const __m128i*>(blocks[g] + k * kGroupOutputs);
        quants[g] = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(bytes)));
      }
      step(k, quants);
    }
  } else {
    const __m512 table = nibble_table<kType>();
    for (std::size_t v = 0; v < kBlock / 8; ++v) {
      __m512i words[kGroups];
#pragma GCC unroll 4
      for (int g = 0; g < kGroups; ++g) words[g] = _mm512_loadu_si512(blocks[g] + v * 64);
#pragma GCC unroll 8
      for (std::size_t n = 0; n < 8; ++n) {
#pragma GCC unroll 4
        for (int g = 0; g < kGroups; ++g) {
          quants[g] = _mm512_permutexvar_ps(words[g], table);
          words[g] = _mm512_srli_epi32(words[g], 4);
        }
        step(8 * v + n, quants);
      }
    }
  }
}

template <int kRows, int kGroups>
[[gnu::always_inline]] inline void store_outputs(const DecodeProduct& p, std::size_t group, std::size_t row,
                                                 const __m512 (&sums)[kRows][kGroups]) {
#pragma GCC unroll 4
  for (int g = 0; g < kGroups; ++g) {
    const std::size_t output = (group + g) * kGroupOutputs;
    const __mmask16 mask = first_lanes(p.weight.rows - output);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) _mm512_mask_storeu_ps(p.y + (row + r) * p.y_stride + output, mask, sums[r][g]);
  }
}

// For kGroups groups and kRows rows: per block b, sum += scale * <quants, x> (+ minimum * block_sum), b ascending.
// Which tile a row or a group lies in does not change its chain.
template <WeightType kType, int kRows, int kGroups>
[[gnu::noinline]] void decode_tile(const DecodeProduct& p, std::size_t group, std::size_t row) {
  const std::size_t blocks = p.weight.columns / kBlock;
  __m512 sums[kRows][kGroups];
  const std::byte* at[kGroups];
#pragma GCC unroll 4
  for (int g = 0; g < kGroups; ++g) {
    at[g] = p.weight.data + (group + g) * p.weight.group_bytes;
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) sums[r][g] = _mm512_setzero_ps();
  }
  const float* x = p.x + row * p.x_stride;
  for (std::size_t b = 0; b < blocks; ++b, x += kBlock) {
    __m512 parts[kRows][kGroups];
#pragma GCC unroll 4
    for (int g = 0; g < kGroups; ++g) {
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) parts[r][g] = _mm512_setzero_ps();
      // The same block of the groups that come after these.
      for (std::size_t line = 0; line < block_bytes(kType); line += 64) {
        _mm_prefetch(reinterpret_cast<const char*>(at[g]) + kGroups * p.weight.group_bytes + line, _MM_HINT_T1);
      }
    }
    for_columns<kType, kGroups>(
        at, [&](std::size_t k, const __m512(&quants)[kGroups]) __attribute__((always_inline)) {
#pragma GCC unroll 8
          for (int r = 0; r < kRows; ++r) {
            const __m512 value = _mm512_set1_ps(x[r * p.x_stride + k]);
#pragma GCC unroll 4
            for (int g = 0; g < kGroups; ++g) parts[r][g] = _mm512_fmadd_ps(quants[g], value, parts[r][g]);
          }
        });
#pragma GCC unroll 4
    for (int g = 0; g < kGroups; ++g) {
      const __m512 scale = load_scales(at[g] + quant_bytes(kType));
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) sums[r][g] = _mm512_fmadd_ps(scale, parts[r][g], sums[r][g]);
      if constexpr (kType == WeightType::q4_1) {
        const __m512 minimum = load_scales(at[g] + quant_bytes(kType) + 2 * kGroupOutputs);
#pragma GCC unroll 8
        for (int r = 0; r < kRows; ++r) {
          sums[r][g] = _mm512_fmadd_ps(minimum, _mm512_set1_ps(p.block_sums[(row + r) * blocks + b]), sums[r][g]);
        }
      }
      at[g] += block_bytes(kType);
    }
  }
  store_outputs(p, group, row, sums);
}

// Weights that are not quantized: a chain for each run of columns.
template <WeightType kType, int kRows, int kGroups>
[[gnu::noinline]] void decode_float_tile(const DecodeProduct& p, std::size_t group, std::size_t row) {
  __m512 sums[kRows][kGroups];
  const std::byte* at[kGroups];
#pragma GCC unroll 4
  for (int g = 0; g < kGroups; ++g) {
    at[g] = p.weight.data + (group + g) * p.weight.group_bytes;
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) sums[r][g] = _mm512_setzero_ps();
  }
  const float* x = p.x + row * p.x_stride;
  for (std::size_t begin = 0; begin < p.weight.columns; begin += kSumRun) {
    __m512 parts[kRows][kGroups];
#pragma GCC unroll 4
    for (int g = 0; g < kGroups; ++g) {
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) parts[r][g] = _mm512_setzero_ps();
    }
    const std::size_t end = begin + smaller(kSumRun, p.weight.columns - begin);
    for (std::size_t k = begin; k < end; ++k) {
#pragma GCC unroll 4
      for (int g = 0; g < kGroups; ++g) {
        const __m512 column = load_column<kType>(at[g], k);
#pragma GCC unroll 8
        for (int r = 0; r < kRows; ++r) {
          parts[r][g] = _mm512_fmadd_ps(column, _mm512_set1_ps(x[r * p.x_stride + k]), parts[r][g]);
        }
      }
    }
#pragma GCC unroll 4
    for (int g = 0; g < kGroups; ++g) {
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) sums[r][g] = _mm512_add_ps(sums[r][g], parts[r][g]);
    }
  }
  store_outputs(p, group, row, sums);
}

constexpr std::size_t kDecodeRows = 8;
// As many groups side by side as the registers hold: independent chains hide the latency of an FMA.
constexpr int groups_for(int rows) {
  return rows <= 2 ? 4 : rows <= 4 ? 2 : 1;
}

template <WeightType kType, int kRows>
void decode_rows(const DecodeProduct& p, std::size_t row) {
  constexpr int kGroups = groups_for(kRows);
  const std::size_t end = p.first_group + p.groups;
  std::size_t group = p.first_group;
  if constexpr (is_quantized(kType)) {
    for (; group + kGroups <= end; group += kGroups) decode_tile<kType, kRows, kGroups>(p, group, row);
    for (; group < end; ++group) decode_tile<kType, kRows, 1>(p, group, row);
  } else {
    for (; group + kGroups <= end; group += kGroups) decode_float_tile<kType, kRows, kGroups>(p, group, row);
    for (; group < end; ++group) decode_float_tile<kType, kRows, 1>(p, group, row);
  }
}

template <WeightType kType>
void decode_type(const DecodeProduct& p) {
  for (std::size_t row = 0; row < p.rows; row += kDecodeRows) {
    switch (p.rows - row) {
      case 1:
        decode_rows<kType, 1>(p, row);
        break;
      case 2:
        decode_rows<kType, 2>(p, row);
        break;
      case 3:
        decode_rows<kType, 3>(p, row);
        break;
      case 4:
        decode_rows<kType, 4>(p, row);
        break;
      case 5:
        decode_rows<kType, 5>(p, row);
        break;
      case 6:
        decode_rows<kType, 6>(p, row);
        break;
      case 7:
        decode_rows<kType, 7>(p, row);
        break;
      default:
        decode_rows<kType, 8>(p, row);
        break;
    }
  }
}

// `depth` columns of one group into every 64th float of a panel; w = scale * q + minimum by one FMA.
template <WeightType kType>
void unpack_group(const std::byte* group, std::size_t first_column, std::size_t depth, float* to) {
  if constexpr (is_quantized(kType)) {
    const std::byte* at[1] = {group + first_column / kBlock * block_bytes(kType)};
    for (std::size_t k = 0; k < depth; k += kBlock) {
      const __m512 scale = load_scales(at[0] + quant_bytes(kType));
      __m512 minimum = _mm512_setzero_ps();
      if constexpr (kType == WeightType::q4_1) minimum = load_scales(at[0] + quant_bytes(kType) + 2 * kGroupOutputs);
      for_columns<kType, 1>(
          at, [&](std::size_t i, const __m512(&quants)[1]) __attribute__((always_inline)) {
            _mm512_storeu_ps(to + (k + i) * kPanelColumns, _mm512_fmadd_ps(quants[0], scale, minimum));
          });
      at[0] += block_bytes(kType);
    }
  } else {
    for (std::size_t k = 0; k < depth; ++k) {
      _mm512_storeu_ps(to + k * kPanelColumns, load_column<kType>(group, first_column + k));
    }
  }
}

template <WeightType kType>
void unpack_type(const PackedView& weight, std::size_t first_group, std::size_t groups, std::size_t first_column,
                 std::size_t depth, float* panel) {
  for (std::size_t g = 0; g < groups; ++g) {
    unpack_group<kType>(weight.data + (first_group + g) * weight.group_bytes, first_column, depth,
                        panel + g * kGroupOutputs);
  }
}

// `rows` rows from `row` on, run after run, into `vectors` vectors of each row of c.
void multiply_runs(const PanelProduct& p, std::size_t row, std::size_t rows, std::size_t vectors, float* c,
                   std::size_t c_stride) {
  std::size_t k = 0;
  do {  // no input at all still is one run, which writes zeros
    const std::size_t depth = smaller(kSumRun, p.depth - k);
    product<float>(rows, vectors,
                   {.a = p.x + row * p.x_stride + k,
                    .a_stride = p.x_stride,
                    .b = p.panel + k * kPanelColumns,
                    .b_stride = kPanelColumns,
                    .depth = depth,
                    .c = c,
                    .c_stride = c_stride,
                    .into = p.accumulate || k > 0 ? Into::add : Into::replace});
    k += depth;
  } while (k < p.depth);
}

// Columns that do not fill a vector go through a tile of their own.
void multiply_ragged(const PanelProduct& p, std::size_t row, std::size_t rows) {
  float tile[kTileRows * kPanelColumns] = {};
  for (std::size_t r = 0; p.accumulate && r < rows; ++r) {
    for (std::size_t c = 0; c < p.columns; ++c) tile[r * kPanelColumns + c] = p.y[(row + r) * p.y_stride + c];
  }
  multiply_runs(p, row, rows, kTileVectors, tile, kPanelColumns);
  for (std::size_t r = 0; r < rows; ++r) {
    for (std::size_t c = 0; c < p.columns; ++c) p.y[(row + r) * p.y_stride + c] = tile[r * kPanelColumns + c];
  }
}

}  // namespace

void unpack_panel(const PackedView& weight, std::size_t first_group, std::size_t groups, std::size_t first_column,
                  std::size_t depth, float* panel) {
  switch (weight.type) {
    case WeightType::f32:
      return unpack_type<WeightType::f32>(weight, first_group, groups, first_column, depth, panel);
    case WeightType::f16:
      return unpack_type<WeightType::f16>(weight, first_group, groups, first_column, depth, panel);
    case WeightType::bf16:
      return unpack_type<WeightType::bf16>(weight, first_group, groups, first_column, depth, panel);
    case WeightType::q8_0:
      return unpack_type<WeightType::q8_0>(weight, first_group, groups, first_column, depth, panel);
    case WeightType::q4_0:
      return unpack_type<WeightType::q4_0>(weight, first_group, groups, first_column, depth, panel);
    case WeightType::q4_1:
      return unpack_type<WeightType::q4_1>(weight, first_group, groups, first_column, depth, panel);
  }
}

void multiply_panel(const PanelProduct& p) {
  for (std::size_t row = 0; row < p.rows; row += kTileRows) {
    const std::size_t rows = smaller(kTileRows, p.rows - row);
    if (p.columns % 16 == 0) {
      multiply_runs(p, row, rows, p.columns / 16, p.y + row * p.y_stride, p.y_stride);
    } else {
      multiply_ragged(p, row, rows);
    }
  }
}

void sum_blocks(const float* x, std::size_t blocks, float* sums) {
  for (std::size_t b = 0; b < blocks; ++b, x += kBlock) {
    sums[b] = sum_lanes(_mm512_add_ps(_mm512_loadu_ps(x), _mm512_loadu_ps(x + 16)));
  }
}

void decode(const DecodeProduct& p) {
  switch (p.weight.type) {
    case WeightType::f32:
      return decode_type<WeightType::f32>(p);
    case WeightType::f16:
      return decode_type<WeightType::f16>(p);
    case WeightType::bf16:
      return decode_type<WeightType::bf16>(p);
    case WeightType::q8_0:
      return decode_type<WeightType::q8_0>(p);
    case WeightType::q4_0:
      return decode_type<WeightType::q4_0>(p);
    case WeightType::q4_1:
      return decode_type<WeightType::q4_1>(p);
  }
}

}  // namespace rotulus::kernels::cpu::avx512
