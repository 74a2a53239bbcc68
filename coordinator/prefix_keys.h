// Names for chunks by what they hold: under equal keys lie equal bytes, so contexts may list the same object.
//
//   prefix_i = SHA-256(prefix_(i-1) | token ids of chunk i)          key_i = SHA-256(prefix_i | parameters)
//
// A chunk's keys and values depend on its own tokens, on all before it, and on the parameters of its context (model,
// rotation, format, lanes, numerics, how rows beyond the window attend): a key covers all of these and nothing else.
// A chunk that ends early, at the end of its document, has another key than the whole one that begins alike.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "protocol/messages.h"

namespace rotulus::coordinator {

using PrefixKey = std::array<std::uint8_t, 32>;

// The prefixes of one document, whose token ids come in pieces of any size.
class PrefixChain final {
 public:
  void append(std::span<const protocol::TokenId> ids);
  std::uint64_t token_count() const { return prefixes_.size() * protocol::kChunkTokens + rest_.size(); }
  // One for each chunk of what was appended so far.
  std::vector<PrefixKey> keys(const protocol::ContextParameters& parameters) const;

 private:
  std::vector<PrefixKey> prefixes_;      // of whole chunks
  std::vector<protocol::TokenId> rest_;  // less than a chunk
};

}  // namespace rotulus::coordinator
