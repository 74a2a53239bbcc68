#include "protocol/kv_cost.h"

#include <algorithm>

namespace rotulus::protocol {

KvBytes kv_bytes(std::uint64_t tokens, const KvCost& cost) {
  std::uint64_t kept = 0;  // tokens, in a layer that slides
  for (std::uint64_t chunk = 0; chunk < chunk_count(tokens); ++chunk) {
    const TokenRange range = chunk_range(chunk, tokens);
    const std::uint64_t seen = first_token_seen(range.end, cost.sliding_window);
    const std::uint64_t first_kept = seen - seen % kBlockTokens;
    kept += range.end - std::clamp(first_kept, range.begin, range.end);
  }
  return {.full = tokens * (cost.token_bytes - cost.sliding_token_bytes),
          .sliding = kept * cost.sliding_token_bytes,
          .saved = (tokens - kept) * cost.sliding_token_bytes};
}

}  // namespace rotulus::protocol
