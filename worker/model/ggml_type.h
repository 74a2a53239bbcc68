// The tensor types of GGUF: number, name and size. All that are in use are known by name, so that a file with a type
// that we do not compute is refused by that name and not by a parse error.
//
// Source of numbers and sizes: the enum ggml_type and the block structs of ggml.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "kernels/views.h"

namespace rotulus::worker {

// As in the file.
enum class GgmlType : std::uint32_t {};

// How a row of this type lies in memory: blocks of `block_elements` neighbours along the row, `block_bytes` each.
struct GgmlTypeLayout {
  std::uint32_t block_elements = 0;
  std::uint32_t block_bytes = 0;
};

std::string to_string(GgmlType type);  // "Q4_1"; "type 77" for a number without a meaning
std::optional<GgmlTypeLayout> find_layout(GgmlType type);
std::optional<kernels::WeightType> find_weight_type(GgmlType type);  // those that can be loaded as weights

}  // namespace rotulus::worker
