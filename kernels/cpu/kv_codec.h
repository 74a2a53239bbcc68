// Tokens into their stored form (kv_format.h) and back.
#pragma once

#include "kernels/cpu/kernel_table.h"

namespace rotulus::kernels::cpu {

void store_rows(const KernelTable& table, const KvFormat& format, ConstMatrix keys, ConstMatrix values,
                std::uint32_t first_row, std::byte* block);

// One token of one KV head, as attention reads it: [head_dim].
void load_key(const KvFormat& format, const std::byte* block, std::uint32_t head, std::uint32_t token, float* key);
void load_value(const KvFormat& format, const std::byte* block, std::uint32_t head, std::uint32_t token, float* value);

}  // namespace rotulus::kernels::cpu
