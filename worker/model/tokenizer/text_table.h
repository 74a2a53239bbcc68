// Token ids by the bytes that the tokens stand for: open addressing over one string that holds them all.
//
// Threads: immutable once filled; safe anywhere then.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "protocol/ids.h"

namespace rotulus::worker::tokenizer {

using protocol::TokenId;

class TextTable final {
 public:
  explicit TextTable(std::size_t max_count);

  // Does nothing where `text` is empty or there already: the first id stays. At most max_count times.
  void add(std::string_view text, TokenId id);
  std::optional<TokenId> find(std::string_view text) const;

 private:
  struct Entry {
    std::uint32_t hash = 0;
    std::uint32_t length = 0;  // 0: free
    std::size_t offset = 0;    // in texts_
    TokenId id = 0;
  };
  std::size_t slot_of(std::string_view text, std::uint32_t hash) const;  // where it is, or would be

  std::vector<Entry> entries_;  // a power of two, at most half full
  std::string texts_;
  std::size_t longest_ = 0;
};

}  // namespace rotulus::worker::tokenizer
