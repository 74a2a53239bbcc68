// What the keys and values of a document take, and what a sliding window saves of that.
//
// A layer whose window is w shows a row at position p the tokens (p - w, p]. So behind a chunk's end its rows see at
// most the last w - 1 tokens of the chunk: in such a layer only the blocks that hold one of these are kept, the others
// are dropped while the chunk is computed. In a layer without a window every block is kept.
#pragma once

#include <cstdint>

#include "protocol/token_range.h"

namespace rotulus::protocol {

// The first token that a row at `position`, or any behind it, sees in a layer. window 0: none, all tokens are seen.
inline std::uint64_t first_token_seen(std::uint64_t position, std::uint64_t window) {
  return window == 0 || position + 1 < window ? 0 : position + 1 - window;
}

// In host memory and on disk alike: both hold the same blocks.
struct KvCost {
  std::uint64_t token_bytes = 0;          // of one token in all layers
  std::uint64_t sliding_token_bytes = 0;  // of these, in layers that slide
  std::uint32_t sliding_window = 0;
  bool operator==(const KvCost&) const = default;
};

// Of a document of `tokens` tokens, in layers that see all of it, and in those that slide.
struct KvBytes {
  std::uint64_t full = 0;
  std::uint64_t sliding = 0;
  std::uint64_t saved = 0;  // that the sliding layers would take beside that if they kept every token
  std::uint64_t kept() const { return full + sliding; }
};
KvBytes kv_bytes(std::uint64_t tokens, const KvCost& cost);

}  // namespace rotulus::protocol
