// Which two neighbours become one symbol, and which pair goes first: what byte-pair encoding over bytes (GPT-2) and
// over characters (SentencePiece) have in common.
//
// Text is split into its first symbols (one a byte, or one a character); then the adjacent pair of best rank, the
// leftmost among equals, is merged until no pair has a rank (Sennrich et al. 2016).
//
// Symbols are token ids, and beyond them ids of symbols that are no tokens, which the caller gives a meaning.
//
// Threads: immutable once filled; safe anywhere then. No recursion.
// Cost:    short text merges in O(n²) in the cache, long text in O(n log n) (long_merge.h), in memory that does not
// grow
//          with it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "worker/model/tokenizer/text_table.h"

namespace rotulus::worker::tokenizer {

class MergeRules final {
 public:
  enum class Unit : std::uint8_t { byte, character /* of valid UTF-8 */ };
  static constexpr std::uint32_t kNoRank = UINT32_MAX;
  static constexpr TokenId kNoSymbol = UINT32_MAX;

  struct Merge {
    std::uint64_t pair = UINT64_MAX;  // left id, right id
    std::uint32_t rank = kNoRank;
    TokenId merged = 0;
  };
  struct Merged {
    TokenId id = 0;
    std::uint32_t rank = kNoRank;
    std::size_t bytes = 0;
  };
  struct Symbol {
    TokenId id = kNoSymbol;
    std::uint32_t bytes = 0;
  };

  // `symbol_count`: of tokens and other symbols; ids are below it. At most `max_merges` are added.
  MergeRules(Unit unit, std::size_t symbol_count, std::size_t max_merges);

  void add_first_symbol(std::string_view text, TokenId id);  // one unit long
  // Characters of `bytes` bytes (1 … 4) that have no symbol of their own are this one.
  void set_unknown(std::size_t bytes, TokenId id);
  // The first rule for a pair stays. `bytes`: how long the text of `merged` is.
  void add_merge(TokenId left, TokenId right, const Merged& merged);

  const Merge& find(TokenId left, TokenId right) const;  // rank kNoRank where there is none
  Symbol first_symbol(std::string_view text) const;      // what `text`, not empty, begins with; kNoSymbol for a byte
  std::uint32_t length(TokenId id) const { return lengths_[id]; }  // bytes; 0 for what merging cannot make

  // Adds the symbols that merging `text` gives. Every unit of it has a symbol.
  void merge(std::string_view text, std::vector<TokenId>& ids) const;

 private:
  static constexpr std::size_t kMaxShortBytes = 64;

  std::size_t slot_of(std::uint64_t pair) const;              // where it is, or would be
  std::size_t merge_short(std::span<TokenId> symbols) const;  // returns how many are left

  Unit unit_;
  std::array<TokenId, 256> bytes_;  // first symbols of one byte
  std::array<TokenId, 5> unknown_;  // by length
  TextTable characters_;            // first symbols of several bytes
  std::vector<std::uint32_t> lengths_;
  std::vector<Merge> merges_;  // open addressing; a power of two, at most half full
};

}  // namespace rotulus::worker::tokenizer
