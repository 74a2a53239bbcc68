#include "kernels/views.h"

#include "kernels/check.h"

namespace rotulus::kernels {

std::string_view to_string(KvType type) {
  return type == KvType::f16 ? "f16" : "f32";
}

std::string_view to_string(WeightType type) {
  switch (type) {
    case WeightType::f32:
      return "F32";
    case WeightType::f16:
      return "F16";
    case WeightType::bf16:
      return "BF16";
    case WeightType::q8_0:
      return "Q8_0";
    case WeightType::q4_0:
      return "Q4_0";
    case WeightType::q4_1:
      return "Q4_1";
  }
  return "?";
}

std::size_t weight_row_bytes(WeightType type, std::size_t columns) {
  switch (type) {
    case WeightType::f32:
      return 4 * columns;
    case WeightType::f16:
    case WeightType::bf16:
      return 2 * columns;
    default:
      break;
  }
  KERNELS_CHECK(columns % 32 == 0, columns);
  const std::size_t block_bytes = type == WeightType::q8_0 ? 34 : type == WeightType::q4_0 ? 18 : 20;
  return columns / 32 * block_bytes;
}

}  // namespace rotulus::kernels
