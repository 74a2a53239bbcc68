// Dense products. Prefill: panels dequantized to float32 and multiplied by the microkernel. Decode: 16 outputs in the
// lanes of a vector, codes turned into floats in registers, and the sum of each run of columns scaled once.
#include <immintrin.h>

#include "kernels/cpu/avx512/kernels.h"
#include "kernels/cpu/avx512/microkernel.h"
#include "kernels/cpu/avx512/vector_math.h"

namespace rotulus::kernels::cpu::avx512 {
namespace {

constexpr std::size_t smaller(std::size_t a, std::size_t b) {
  return a < b ? a : b;
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

[[gnu::always_inline]] inline __m512 load_halves(const std::byte* at) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(at)));
}

// The float values of codes: by permutation of a table (the index is read from the lowest bits of a word, so nothing is
// masked), or by sign extension where they are two's complement.
template <WeightType kType>
class Values {
 public:
  Values() {
    constexpr CodeValues kValues = values_of_codes(kType);
    low_ = widen(kValues.of);
    high_ = widen(kValues.of + 16);
  }
  [[gnu::always_inline]] __m512 of(__m512i words) const {
    constexpr std::uint32_t kBits = form_of(kType).bits;
    if constexpr (kBits <= 4) return _mm512_permutexvar_ps(words, low_);
    if constexpr (kBits == 5) return _mm512_permutex2var_ps(low_, words, high_);
    return _mm512_cvtepi32_ps(_mm512_srai_epi32(_mm512_slli_epi32(words, 32 - kBits), 32 - kBits));
  }

 private:
  static __m512 widen(const std::int8_t* values) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(values))));
  }
  __m512 low_;
  __m512 high_;
};

// Calls step(column, values) for the 32 columns of kGroups packed blocks, values [kGroups] not scaled.
template <WeightType kType, int kGroups, typename Step>
[[gnu::always_inline]] inline void for_columns(const Values<kType>& table, const std::byte* const (&blocks)[kGroups],
                                               const Step& step) {
  constexpr std::size_t kBits = form_of(kType).bits;
  constexpr std::size_t kPerWord = 32 / kBits;
  __m512i last_two[kGroups];
  __m512 values[kGroups];
#pragma GCC unroll 8
  for (std::size_t v = 0; v < kBits; ++v) {
    __m512i words[kGroups];
#pragma GCC unroll 4
    for (int g = 0; g < kGroups; ++g) words[g] = _mm512_loadu_si512(blocks[g] + v * 64);
#pragma GCC unroll 16
    for (std::size_t n = 0; n < kPerWord; ++n) {
#pragma GCC unroll 4
      for (int g = 0; g < kGroups; ++g) {
        values[g] = table.of(words[g]);
        words[g] = _mm512_srli_epi32(words[g], kBits);
      }
      step(v * kPerWord + n, values);
    }
    if constexpr (32 % kBits != 0) {
#pragma GCC unroll 4
      for (int g = 0; g < kGroups; ++g) {
        last_two[g] = v == 0 ? words[g] : _mm512_or_si512(last_two[g], _mm512_slli_epi32(words[g], 2 * v));
      }
    }
  }
  if constexpr (32 % kBits != 0) {
#pragma GCC unroll 2
    for (std::size_t k = 30; k < kWeightBlock; ++k) {
#pragma GCC unroll 4
      for (int g = 0; g < kGroups; ++g) {
        values[g] = table.of(last_two[g]);
        last_two[g] = _mm512_srli_epi32(last_two[g], kBits);
      }
      step(k, values);
    }
  }
}

// The scales of part `part` of a block, and its minimums.
template <WeightType kType>
[[gnu::always_inline]] inline __m512 scales_of(const std::byte* header, const std::byte* block, std::size_t part) {
  constexpr WeightForm kForm = form_of(kType);
  const std::byte* const at = block + kForm.scale_offset(part);
  if constexpr (kForm.scale == ScaleKind::f16) return load_halves(at);
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(at));
  if constexpr (kForm.scale == ScaleKind::integer) {
    return _mm512_mul_ps(load_halves(header), _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes)));
  }
  const __m512i exponents = _mm512_cvtepu8_epi32(bytes);
  const __m512i normal = _mm512_slli_epi32(_mm512_sub_epi32(exponents, _mm512_set1_epi32(1)), 23);
  const __m512i subnormal = _mm512_sllv_epi32(_mm512_set1_epi32(0x00200000), exponents);
  const __mmask16 is_normal = _mm512_cmpgt_epi32_mask(exponents, _mm512_set1_epi32(1));
  return _mm512_castsi512_ps(_mm512_mask_blend_epi32(is_normal, subnormal, normal));
}

template <WeightType kType>
[[gnu::always_inline]] inline __m512 minimums_of(const std::byte* header, const std::byte* block, std::size_t part) {
  constexpr WeightForm kForm = form_of(kType);
  const std::byte* const at = block + kForm.minimum_offset(part);
  if constexpr (kForm.scale == ScaleKind::f16) return load_halves(at);
  const __m512i integers = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(at)));
  const __m512 steps = load_halves(header + 2 * kGroupOutputs);
  return _mm512_mul_ps(_mm512_sub_ps(_mm512_setzero_ps(), steps), _mm512_cvtepi32_ps(integers));
}

template <int kRows, int kGroups>
[[gnu::always_inline]] inline void store_outputs(const DecodeProduct& p, std::size_t group, std::size_t row,
                                                 const __m512 (&sums)[kRows][kGroups]) {
#pragma GCC unroll 4
  for (int g = 0; g < kGroups; ++g) {
    const std::size_t output = (group + g) * kGroupOutputs;
    const __mmask16 mask = first_lanes(output < p.weight.rows ? p.weight.rows - output : 0);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) _mm512_mask_storeu_ps(p.y + (row + r) * p.y_stride + output, mask, sums[r][g]);
  }
}

// For kGroups groups and kRows rows: which tile a row or a group lies in does not change its chain (kernel_table.h).
template <WeightType kType, int kRows, int kGroups>
[[gnu::noinline]] void decode_tile(const DecodeProduct& p, std::size_t group, std::size_t row) {
  constexpr WeightForm kForm = form_of(kType);
  const std::size_t blocks = p.weight.columns / kWeightBlock;
  const std::size_t runs = blocks * kForm.scales_per_block();
  const Values<kType> table;
  __m512 sums[kRows][kGroups];
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int g = 0; g < kGroups; ++g) sums[r][g] = _mm512_setzero_ps();
  }
  const std::byte* const data = p.weight.data + group * p.weight.group_bytes;
  const float* x = p.x + row * p.x_stride;
  for (std::size_t b = 0; b < blocks; ++b, x += kWeightBlock) {
    const std::byte* header[kGroups];
    const std::byte* block[kGroups];
    __m512 parts[kRows][kGroups];
#pragma GCC unroll 4
    for (int g = 0; g < kGroups; ++g) {
      header[g] = data + g * p.weight.group_bytes + kForm.header_at(b);
      block[g] = data + g * p.weight.group_bytes + kForm.block_at(b);
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) parts[r][g] = _mm512_setzero_ps();
      // The same block of the groups that come after these.
      for (std::size_t line = 0; line < kForm.block_bytes(); line += 64) {
        _mm_prefetch(reinterpret_cast<const char*>(block[g]) + kGroups * p.weight.group_bytes + line, _MM_HINT_T1);
      }
    }
    for_columns<kType, kGroups>(
        table, block, [&](std::size_t k, const __m512(&values)[kGroups]) __attribute__((always_inline)) {
#pragma GCC unroll 4
          for (int r = 0; r < kRows; ++r) {
            const __m512 factor = _mm512_set1_ps(x[r * p.x_stride + k]);
#pragma GCC unroll 4
            for (int g = 0; g < kGroups; ++g) parts[r][g] = _mm512_fmadd_ps(values[g], factor, parts[r][g]);
          }
          if ((k + 1) % kForm.scale_columns != 0) return;
          const std::size_t part = k / kForm.scale_columns;
#pragma GCC unroll 4
          for (int g = 0; g < kGroups; ++g) {
            const __m512 scale = scales_of<kType>(header[g], block[g], part);
#pragma GCC unroll 4
            for (int r = 0; r < kRows; ++r) {
              sums[r][g] = _mm512_fmadd_ps(scale, parts[r][g], sums[r][g]);
              parts[r][g] = _mm512_setzero_ps();
            }
            if constexpr (kForm.has_minimum) {
              const __m512 minimum = minimums_of<kType>(header[g], block[g], part);
#pragma GCC unroll 4
              for (int r = 0; r < kRows; ++r) {
                const float sum = p.column_sums[(row + r) * runs + b * kForm.scales_per_block() + part];
                sums[r][g] = _mm512_fmadd_ps(minimum, _mm512_set1_ps(sum), sums[r][g]);
              }
            }
          }
        });
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

// All rows of the product against one panel while it lies in the caches: the weights come from memory once. As many
// groups side by side as the registers hold: independent chains hide the latency of an FMA.
template <WeightType kType, int kRows, int kGroups>
void decode_panel(const DecodeProduct& p, std::size_t panel, std::size_t row) {
  for (std::size_t group = panel; group < panel + kPanelGroups; group += kGroups) {
    if constexpr (form_of(kType).is_quantized()) {
      decode_tile<kType, kRows, kGroups>(p, group, row);
    } else {
      decode_float_tile<kType, kRows, kGroups>(p, group, row);
    }
  }
}

template <WeightType kType>
struct Decode {
  static void run(const DecodeProduct& p) {
    for (std::size_t panel = p.first_group; panel < p.first_group + p.groups; panel += kPanelGroups) {
      std::size_t row = 0;
      for (; row + 4 <= p.rows; row += 4) decode_panel<kType, 4, 2>(p, panel, row);
      if (row + 2 <= p.rows) {
        decode_panel<kType, 2, 4>(p, panel, row);
        row += 2;
      }
      if (row < p.rows) decode_panel<kType, 1, 4>(p, panel, row);
    }
  }
};

// `depth` columns of one group into every 64th float of a panel; a weight rounds once at most.
template <WeightType kType>
void unpack_group(const std::byte* group, std::size_t first_column, std::size_t depth, float* to) {
  constexpr WeightForm kForm = form_of(kType);
  if constexpr (kForm.is_quantized()) {
    const Values<kType> table;
    for (std::size_t k = 0; k < depth; k += kWeightBlock) {
      const std::size_t b = (first_column + k) / kWeightBlock;
      const std::byte* const header = group + kForm.header_at(b);
      const std::byte* const block[1] = {group + kForm.block_at(b)};
      __m512 scale = _mm512_setzero_ps();
      __m512 minimum = _mm512_setzero_ps();
      for_columns<kType, 1>(
          table, block, [&](std::size_t i, const __m512(&values)[1]) __attribute__((always_inline)) {
            if (i % kForm.scale_columns == 0) {
              scale = scales_of<kType>(header, block[0], i / kForm.scale_columns);
              if constexpr (kForm.has_minimum) minimum = minimums_of<kType>(header, block[0], i / kForm.scale_columns);
            }
            _mm512_storeu_ps(to + (k + i) * kPanelColumns, _mm512_fmadd_ps(values[0], scale, minimum));
          });
    }
  } else {
    for (std::size_t k = 0; k < depth; ++k) {
      _mm512_storeu_ps(to + k * kPanelColumns, load_column<kType>(group, first_column + k));
    }
  }
}

template <WeightType kType>
struct Unpack {
  static void run(const PackedView& weight, std::size_t first_group, std::size_t first_column, std::size_t depth,
                  float* panel) {
    for (std::size_t g = 0; g < kPanelGroups; ++g) {
      unpack_group<kType>(weight.data + (first_group + g) * weight.group_bytes, first_column, depth,
                          panel + g * kGroupOutputs);
    }
  }
};

// Runs Kernel<type>.
template <template <WeightType> typename Kernel, typename... Arguments>
[[gnu::always_inline]] inline void for_type(WeightType type, const Arguments&... arguments) {
  switch (type) {
    case WeightType::f32:
      return Kernel<WeightType::f32>::run(arguments...);
    case WeightType::f16:
      return Kernel<WeightType::f16>::run(arguments...);
    case WeightType::bf16:
      return Kernel<WeightType::bf16>::run(arguments...);
    case WeightType::q8_0:
      return Kernel<WeightType::q8_0>::run(arguments...);
    case WeightType::q4_0:
      return Kernel<WeightType::q4_0>::run(arguments...);
    case WeightType::q4_1:
      return Kernel<WeightType::q4_1>::run(arguments...);
    case WeightType::q5_0:
      return Kernel<WeightType::q5_0>::run(arguments...);
    case WeightType::q5_1:
      return Kernel<WeightType::q5_1>::run(arguments...);
    case WeightType::q2_k:
      return Kernel<WeightType::q2_k>::run(arguments...);
    case WeightType::q3_k:
      return Kernel<WeightType::q3_k>::run(arguments...);
    case WeightType::q4_k:
      return Kernel<WeightType::q4_k>::run(arguments...);
    case WeightType::q5_k:
      return Kernel<WeightType::q5_k>::run(arguments...);
    case WeightType::q6_k:
      return Kernel<WeightType::q6_k>::run(arguments...);
    case WeightType::iq4_nl:
      return Kernel<WeightType::iq4_nl>::run(arguments...);
    case WeightType::iq4_xs:
      return Kernel<WeightType::iq4_xs>::run(arguments...);
    case WeightType::mxfp4:
      return Kernel<WeightType::mxfp4>::run(arguments...);
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

void unpack_panel(const PackedView& weight, std::size_t first_group, std::size_t first_column, std::size_t depth,
                  float* panel) {
  for_type<Unpack>(weight.type, weight, first_group, first_column, depth, panel);
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

void sum_columns(const float* x, std::size_t width, std::size_t count, float* sums) {
  for (std::size_t i = 0; i < count; ++i, x += width) {
    __m512 vector = _mm512_loadu_ps(x);
    if (width == 32) vector = _mm512_add_ps(vector, _mm512_loadu_ps(x + 16));
    sums[i] = sum_lanes(vector);
  }
}

void decode(const DecodeProduct& p) {
  for_type<Decode>(p.weight.type, p);
}

}  // namespace rotulus::kernels::cpu::avx512
