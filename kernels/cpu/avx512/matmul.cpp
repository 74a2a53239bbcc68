// Dense products of prefill rows: panels dequantized to float32 and multiplied by the microkernel.
#include <immintrin.h>

#include "kernels/cpu/avx512/panel_product.h"
#include "kernels/cpu/avx512/weights.h"
#include "kernels/cpu/row_kernels.h"

namespace rotulus::kernels::cpu::avx512 {
namespace {

// `depth` columns of one group into every 64th float of a panel; a weight rounds once at most.
template <WeightType kType>
void unpack_group(const std::byte* group, std::size_t first_column, std::size_t depth, float* to) {
  constexpr WeightForm kForm = form_of(kType);
  if constexpr (kForm.is_quantized()) {
    const Codes<kType> codes;
    for (std::size_t k = 0; k < depth; k += kWeightBlock) {
      const std::size_t b = (first_column + k) / kWeightBlock;
      const std::byte* const header = group + kForm.header_at(b);
      const std::byte* const block[1] = {group + kForm.block_at(b)};
      __m512 scale = _mm512_setzero_ps();
      __m512 minimum = _mm512_setzero_ps();
      for_columns<kType, 1>(
          codes, block, [&](std::size_t i, const __m512(&values)[1]) __attribute__((always_inline)) {
            if (i % kForm.scale_columns == 0) {
              scale = scales_of<kType>(header, block[0], i / kForm.scale_columns);
              if constexpr (kForm.has_minimum) minimum = minimums_of<kType>(header, block[0], i / kForm.scale_columns);
            }
            const __m512 factor = _mm512_set1_ps(factor_of(kForm, i));
            _mm512_storeu_ps(to + (k + i) * kPanelColumns,
                             _mm512_fmadd_ps(values[0], _mm512_mul_ps(scale, factor), minimum));
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

}  // namespace

void unpack_panel(const PackedView& weight, std::size_t first_group, std::size_t first_column, std::size_t depth,
                  float* panel) {
  for_type<Unpack>(weight.type, weight, first_group, first_column, depth, panel);
}

void multiply_panel(const PanelProduct& p) {
  multiply_panel_with<FmaTerm, kSumRun>(p);
}

}  // namespace rotulus::kernels::cpu::avx512
