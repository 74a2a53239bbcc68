#include "worker/model/ggml_type.h"

#include <array>
#include <string_view>

namespace rotulus::worker {
namespace {

struct Row {
  std::uint32_t number;
  std::string_view name;
  GgmlTypeLayout layout;
  std::optional<kernels::WeightType> weight;
};

// Numbers that are missing were removed from the format (4, 5, 31–33, 36–38).
constexpr std::array kTypes = {
    Row{0, "F32", {1, 4}, kernels::WeightType::f32},
    Row{1, "F16", {1, 2}, kernels::WeightType::f16},
    Row{2, "Q4_0", {32, 18}, kernels::WeightType::q4_0},
    Row{3, "Q4_1", {32, 20}, kernels::WeightType::q4_1},
    Row{6, "Q5_0", {32, 22}, kernels::WeightType::q5_0},
    Row{7, "Q5_1", {32, 24}, kernels::WeightType::q5_1},
    Row{8, "Q8_0", {32, 34}, kernels::WeightType::q8_0},
    Row{9, "Q8_1", {32, 36}, std::nullopt},
    Row{10, "Q2_K", {256, 84}, kernels::WeightType::q2_k},
    Row{11, "Q3_K", {256, 110}, kernels::WeightType::q3_k},
    Row{12, "Q4_K", {256, 144}, kernels::WeightType::q4_k},
    Row{13, "Q5_K", {256, 176}, kernels::WeightType::q5_k},
    Row{14, "Q6_K", {256, 210}, kernels::WeightType::q6_k},
    Row{15, "Q8_K", {256, 292}, std::nullopt},
    Row{16, "IQ2_XXS", {256, 66}, std::nullopt},
    Row{17, "IQ2_XS", {256, 74}, std::nullopt},
    Row{18, "IQ3_XXS", {256, 98}, std::nullopt},
    Row{19, "IQ1_S", {256, 50}, std::nullopt},
    Row{20, "IQ4_NL", {32, 18}, kernels::WeightType::iq4_nl},
    Row{21, "IQ3_S", {256, 110}, std::nullopt},
    Row{22, "IQ2_S", {256, 82}, std::nullopt},
    Row{23, "IQ4_XS", {256, 136}, kernels::WeightType::iq4_xs},
    Row{24, "I8", {1, 1}, std::nullopt},
    Row{25, "I16", {1, 2}, std::nullopt},
    Row{26, "I32", {1, 4}, std::nullopt},
    Row{27, "I64", {1, 8}, std::nullopt},
    Row{28, "F64", {1, 8}, std::nullopt},
    Row{29, "IQ1_M", {256, 56}, std::nullopt},
    Row{30, "BF16", {1, 2}, kernels::WeightType::bf16},
    Row{34, "TQ1_0", {256, 54}, std::nullopt},
    Row{35, "TQ2_0", {256, 66}, std::nullopt},
    Row{39, "MXFP4", {32, 17}, kernels::WeightType::mxfp4},
    Row{40, "NVFP4", {64, 36}, std::nullopt},
};

const Row* find_row(GgmlType type) {
  for (const Row& row : kTypes) {
    if (row.number == static_cast<std::uint32_t>(type)) return &row;
  }
  return nullptr;
}

}  // namespace

std::string to_string(GgmlType type) {
  const Row* row = find_row(type);
  return row != nullptr ? std::string(row->name) : "type " + std::to_string(static_cast<std::uint32_t>(type));
}

std::optional<GgmlTypeLayout> find_layout(GgmlType type) {
  const Row* row = find_row(type);
  return row != nullptr ? std::optional(row->layout) : std::nullopt;
}

std::optional<kernels::WeightType> find_weight_type(GgmlType type) {
  const Row* row = find_row(type);
  return row != nullptr ? row->weight : std::nullopt;
}

}  // namespace rotulus::worker
