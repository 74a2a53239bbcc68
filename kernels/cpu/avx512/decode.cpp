// Dense products of decode rows: codes turned into floats in registers, and the sum of each run of columns scaled once.
#include <immintrin.h>

#include "kernels/cpu/avx512/vector_math.h"
#include "kernels/cpu/avx512/weights.h"
#include "kernels/cpu/row_kernels.h"

namespace rotulus::kernels::cpu::avx512 {
namespace {

constexpr std::size_t smaller(std::size_t a, std::size_t b) {
  return a < b ? a : b;
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
  const float* const sums_of_x = p.x + row * p.x_stride + p.weight.columns;
  const Codes<kType> codes;
  __m512 sums[kRows][kGroups];
#pragma GCC unroll 8
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
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) parts[r][g] = _mm512_setzero_ps();
      // The same block of the groups that come after these.
      for (std::size_t line = 0; line < kForm.block_bytes(); line += 64) {
        _mm_prefetch(reinterpret_cast<const char*>(block[g]) + kGroups * p.weight.group_bytes + line, _MM_HINT_T1);
      }
    }
    for_columns<kType, kGroups>(
        codes, block, [&](std::size_t k, const __m512(&values)[kGroups]) __attribute__((always_inline)) {
#pragma GCC unroll 8
          for (int r = 0; r < kRows; ++r) {
            const __m512 factor = load_all(x + r * p.x_stride + k);
#pragma GCC unroll 4
            for (int g = 0; g < kGroups; ++g) parts[r][g] = _mm512_fmadd_ps(values[g], factor, parts[r][g]);
          }
          if ((k + 1) % kForm.scale_columns != 0) return;
          const std::size_t part = k / kForm.scale_columns;
#pragma GCC unroll 4
          for (int g = 0; g < kGroups; ++g) {
            const __m512 scale = scales_of<kType>(header[g], block[g], part);
#pragma GCC unroll 8
            for (int r = 0; r < kRows; ++r) {
              sums[r][g] = _mm512_fmadd_ps(scale, parts[r][g], sums[r][g]);
              parts[r][g] = _mm512_setzero_ps();
            }
            if constexpr (kForm.has_minimum) {
              const __m512 minimum = minimums_of<kType>(header[g], block[g], part);
#pragma GCC unroll 8
              for (int r = 0; r < kRows; ++r) {
                const float sum = sums_of_x[r * p.x_stride + b * kForm.scales_per_block() + part];
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
          parts[r][g] = _mm512_fmadd_ps(column, load_all(x + r * p.x_stride + k), parts[r][g]);
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
      for (; p.rows - row >= 8; row += 8) decode_panel<kType, 8, 1>(p, panel, row);
      if (((p.rows - row) & 4) != 0) {
        decode_panel<kType, 4, 2>(p, panel, row);
        row += 4;
      }
      if (((p.rows - row) & 2) != 0) {
        decode_panel<kType, 2, 4>(p, panel, row);
        row += 2;
      }
      if (row < p.rows) decode_panel<kType, 1, 4>(p, panel, row);
    }
  }
};

template <WeightType kType>
struct Prepare {
  static void run(const float* x, std::size_t columns, float* prepared) {
    constexpr WeightForm kForm = form_of(kType);
    if constexpr (kForm.is_quantized()) {
      float factors[kWeightBlock];
      for (std::size_t k = 0; k < kWeightBlock; ++k) factors[k] = factor_of(kForm, k);
      const __m512 low_factors = _mm512_loadu_ps(factors);
      const __m512 high_factors = _mm512_loadu_ps(factors + 16);
      float* sums = prepared + columns;
      for (std::size_t k = 0; k < columns; k += kWeightBlock) {
        const __m512 low = _mm512_loadu_ps(x + k);
        const __m512 high = _mm512_loadu_ps(x + k + 16);
        _mm512_storeu_ps(prepared + k, _mm512_mul_ps(low, low_factors));
        _mm512_storeu_ps(prepared + k + 16, _mm512_mul_ps(high, high_factors));
        if constexpr (kForm.has_minimum && kForm.scale_columns == 32) *sums++ = sum_lanes(_mm512_add_ps(low, high));
        if constexpr (kForm.has_minimum && kForm.scale_columns == 16) {
          *sums++ = sum_lanes(low);
          *sums++ = sum_lanes(high);
        }
      }
    }
  }
};

}  // namespace

// A product of a code times 2^p and an input times 2^-p has the bits of the product of the two.
void prepare_decode(WeightType type, const float* x, std::size_t columns, float* prepared) {
  for_type<Prepare>(type, x, columns, prepared);
}

void decode(const DecodeProduct& p) {
  for_type<Decode>(p.weight.type, p);
}

}  // namespace rotulus::kernels::cpu::avx512
