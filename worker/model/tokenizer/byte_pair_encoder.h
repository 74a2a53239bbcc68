// Byte-pair encoding of one pre-token: its bytes are replaced by their tokens, then the adjacent pair of best rank, the
// leftmost among equals, is merged until no pair has a rank (Sennrich et al. 2016; over bytes: GPT-2).
//
// A byte that has no token is left out, and its neighbours meet, as in the library that trains these vocabularies.
//
// Threads: immutable; safe anywhere. No recursion.
// Cost:    most pre-tokens are tokens themselves: one look-up. Short ones merge in O(n²) in the cache, long ones in
//          O(n log n) (long_merge.h), in memory that does not grow with them.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "worker/model/tokenizer/vocabulary.h"

namespace rotulus::worker::tokenizer {

class BytePairEncoder final {
 public:
  // `whole_tokens_first`: a pre-token that is a token is that token, also where merging would not lead to it.
  // Throws Error{malformed_file} if a merge names or makes what is no token.
  BytePairEncoder(const Vocabulary& vocabulary, bool whole_tokens_first);

  void encode(std::string_view pre_token, std::vector<TokenId>& ids) const;

  const std::string& missing_bytes() const { return missing_bytes_; }  // ascending

  // For the merge loops.
  static constexpr std::uint32_t kNoRank = UINT32_MAX;
  struct Merge {
    std::uint64_t pair = UINT64_MAX;  // left id, right id
    std::uint32_t rank = kNoRank;
    TokenId merged = 0;
  };
  const Merge& find_merge(TokenId left, TokenId right) const;  // rank kNoRank where there is none
  std::optional<TokenId> byte_token(char byte) const { return byte_tokens_[static_cast<std::uint8_t>(byte)]; }
  std::uint32_t length(TokenId id) const { return lengths_[id]; }       // bytes of a token that merging can make
  void merge(std::string_view bytes, std::vector<TokenId>& ids) const;  // without the look-up

 private:
  static constexpr std::size_t kMaxShortSymbols = 64;

  void read_merges(const Vocabulary& vocabulary);
  void find_whole_tokens(const Vocabulary& vocabulary, bool all);
  std::size_t merge_slot(std::uint64_t pair) const;  // where it is, or would be
  std::optional<TokenId> find_whole_token(std::string_view pre_token) const;

  std::size_t merge_short(std::span<TokenId> symbols) const;  // returns how many are left

  std::array<std::optional<TokenId>, 256> byte_tokens_;
  std::string missing_bytes_;
  std::vector<std::uint32_t> lengths_;  // 0 for tokens that merging cannot make
  std::vector<Merge> merges_;           // open addressing; a power of two, at most half full

  // Tokens that stand for a whole pre-token: open addressing over their bytes.
  struct WholeToken {
    std::uint32_t hash = 0;
    std::uint32_t length = 0;  // 0: free
    std::uint32_t offset = 0;  // in whole_bytes_
    TokenId id = 0;
  };
  std::vector<WholeToken> whole_tokens_;
  std::string whole_bytes_;
  std::size_t longest_whole_token_ = 0;
};

}  // namespace rotulus::worker::tokenizer
