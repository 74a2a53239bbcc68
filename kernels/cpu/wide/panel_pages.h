// The pages of a block that are scored, as many at a time as one panel of keys holds.
#pragma once

#include "kernels/cpu/kernel_table.h"

namespace rotulus::kernels::cpu {
namespace {

struct PanelPages {
  std::uint32_t index[kPanelTokens / kPageTokens];  // ascending
  std::uint32_t count = 0;
};

// The lowest of them, which are then no longer `left`; at least one must be.
PanelPages take_pages(std::uint32_t& left) {
  PanelPages pages;
  for (; left != 0 && pages.count < kPanelTokens / kPageTokens; left &= left - 1) {
    pages.index[pages.count++] = static_cast<std::uint32_t>(__builtin_ctz(left));
  }
  return pages;
}

}  // namespace
}  // namespace rotulus::kernels::cpu
