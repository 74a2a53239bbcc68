// The merge loop for one long pre-token.
#pragma once

#include <cstdint>
#include <functional>
#include <queue>
#include <unordered_map>
#include <vector>

#include "worker/model/tokenizer/byte_pair_encoder.h"

namespace rotulus::worker::tokenizer {

// Pairs wait in a list for each rank; the lists are served in the order of ranks, each from left to right. A pair that
// is no longer there when its turn comes is skipped.
//
// Symbols lie in one word a byte, so that no links are stored (length = bytes of the symbol):
//   1. the word of a symbol's first byte holds its token id;
//   2. where it is longer than one byte, the word of its last byte holds kMark | length, to find its start from behind;
//   3. a word between them is never read, or holds a mark.
class LongMerge final {
 public:
  // `symbols`: one single-byte token a word.
  LongMerge(const BytePairEncoder& encoder, std::vector<std::uint32_t> symbols);
  void run(std::vector<TokenId>& ids);

 private:
  static constexpr std::uint32_t kMark = std::uint32_t{1} << 31;

  void serve(std::uint32_t rank);
  bool merge_at(std::uint32_t position, std::uint32_t rank);  // true if a pair of a better rank now waits
  std::uint32_t length_at(std::uint32_t position) const { return encoder_.lengths_[symbols_[position]]; }
  std::uint32_t push_pair(std::uint32_t position);  // the pair that begins there; its rank

  const BytePairEncoder& encoder_;
  std::vector<std::uint32_t> symbols_;
  std::unordered_map<std::uint32_t, std::vector<std::uint32_t>> waiting_;  // positions by rank; never an empty list
  std::priority_queue<std::uint32_t, std::vector<std::uint32_t>, std::greater<>> ranks_;  // those in waiting_, once
};

}  // namespace rotulus::worker::tokenizer
