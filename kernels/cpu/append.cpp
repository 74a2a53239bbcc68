#include "kernels/cpu/append.h"

#include <cstring>
#include <vector>

namespace rotulus::kernels::cpu {
namespace {

void encode(const KernelTable& table, const float* row, std::size_t count, std::uint16_t* to) {
  table.encode_f16(row, count, to);
}
void encode(const KernelTable&, const float* row, std::size_t count, float* to) {
  std::memcpy(to, row, count * sizeof(float));
}

template <typename Element>
void store(const KernelTable& table, const KvFormat& format, ConstMatrix keys, ConstMatrix values,
           std::uint32_t first_row, Element* block) {
  const std::size_t dim = format.head_dim;
  std::vector<Element> row(keys.columns);
  for (std::size_t i = 0; i < keys.rows; ++i) {
    const auto token = static_cast<std::uint32_t>(first_row + i);
    encode(table, keys.row(i), keys.columns, row.data());
    for (std::uint32_t head = 0; head < format.kv_heads; ++head) {
      Element* panel = block + format.key_panel_offset(head, token / kPanelTokens) + token % kPanelTokens;
      for (std::size_t d = 0; d < dim; ++d) panel[d * kPanelTokens] = row[head * dim + d];
      encode(table, values.row(i) + head * dim, dim, block + format.value_offset(head, token));
    }
  }
}

}  // namespace

void store_rows(const KernelTable& table, const KvFormat& format, ConstMatrix keys, ConstMatrix values,
                std::uint32_t first_row, std::byte* block) {
  if (format.type == KvType::f16) {
    store(table, format, keys, values, first_row, reinterpret_cast<std::uint16_t*>(block));
  } else {
    store(table, format, keys, values, first_row, reinterpret_cast<float*>(block));
  }
}

}  // namespace rotulus::kernels::cpu
