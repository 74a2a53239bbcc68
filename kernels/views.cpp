#include "kernels/views.h"

#include "kernels/check.h"

namespace rotulus::kernels {

std::string_view to_string(KvType type) {
  switch (type) {
    case KvType::f16:
      return "f16";
    case KvType::f32:
      return "f32";
    case KvType::bf16:
      return "bf16";
    case KvType::int8:
      return "int8";
    case KvType::int4:
      return "int4";
  }
  return "?";
}

bool parse_kv_type(std::string_view name, KvType& type) {
  for (const KvType candidate : kKvTypes) {
    if (name != to_string(candidate)) continue;
    type = candidate;
    return true;
  }
  return false;
}

namespace {

struct Layout {
  std::string_view name;
  std::size_t block_columns;
  std::size_t block_bytes;
};

Layout layout_of(WeightType type) {
  switch (type) {
    case WeightType::f32:
      return {"F32", 1, 4};
    case WeightType::f16:
      return {"F16", 1, 2};
    case WeightType::bf16:
      return {"BF16", 1, 2};
    case WeightType::q8_0:
      return {"Q8_0", 32, 34};
    case WeightType::q4_0:
      return {"Q4_0", 32, 18};
    case WeightType::q4_1:
      return {"Q4_1", 32, 20};
    case WeightType::q5_0:
      return {"Q5_0", 32, 22};
    case WeightType::q5_1:
      return {"Q5_1", 32, 24};
    case WeightType::q2_k:
      return {"Q2_K", 256, 84};
    case WeightType::q3_k:
      return {"Q3_K", 256, 110};
    case WeightType::q4_k:
      return {"Q4_K", 256, 144};
    case WeightType::q5_k:
      return {"Q5_K", 256, 176};
    case WeightType::q6_k:
      return {"Q6_K", 256, 210};
    case WeightType::iq4_nl:
      return {"IQ4_NL", 32, 18};
    case WeightType::iq4_xs:
      return {"IQ4_XS", 256, 136};
    case WeightType::mxfp4:
      return {"MXFP4", 32, 17};
  }
  return {"?", 1, 0};
}

}  // namespace

std::string_view to_string(WeightType type) {
  return layout_of(type).name;
}

std::size_t weight_block_columns(WeightType type) {
  return layout_of(type).block_columns;
}

std::size_t weight_row_bytes(WeightType type, std::size_t columns) {
  const Layout layout = layout_of(type);
  KERNELS_CHECK(columns % layout.block_columns == 0, columns, layout.block_columns);
  return columns / layout.block_columns * layout.block_bytes;
}

}  // namespace rotulus::kernels
