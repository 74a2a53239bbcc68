// Tokens into their stored form (kv_format.h).
#pragma once

#include "kernels/cpu/kernel_table.h"

namespace rotulus::kernels::cpu {

void store_rows(const KernelTable& table, const KvFormat& format, ConstMatrix keys, ConstMatrix values,
                std::uint32_t first_row, std::byte* block);

}  // namespace rotulus::kernels::cpu
