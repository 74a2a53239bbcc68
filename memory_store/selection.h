// Which pages of a context a query should see: lists of scored pages, their best, and the blocks they lie in.
//
// A selection is a set of pages for each KV head, never weights. Everything here is a pure function of the scores, with
// one rule for ties (the lower page), so that ranks that hold different pages agree on the best of all.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "protocol/token_range.h"

namespace rotulus::memory_store {

struct ScoredPage {
  float score = 0;
  std::uint32_t page = 0;  // index in the context
  bool operator==(const ScoredPage&) const = default;
};

// Whether `a` goes before `b`: the higher score, then the lower page. NaN goes last.
bool is_better(const ScoredPage& a, const ScoredPage& b);

// Keeps the best `count` of them, best first.
void keep_best(std::vector<ScoredPage>& pages, std::size_t count);

// Selected pages, by block: masks[i * kv_heads + head] has bit p set where page p of block blocks[i] is selected.
struct Selection {
  std::vector<std::uint32_t> blocks;  // ascending
  std::vector<std::uint8_t> masks;
  // Pages that both have, over all KV heads: of how many there are as many as here.
  std::size_t count_common(const Selection& other) const;
  // The most pages of any KV head.
  std::size_t largest(std::uint32_t kv_heads) const;
};

// For each KV head the pages of `pins`, then the best of `best[head]` (best first) until there are `budget` of them.
Selection select_pages(std::span<const std::vector<ScoredPage>> best, std::span<const std::uint32_t> pins,
                       std::size_t budget);

// The first `count` pages, best first, with the page before and the page after each; ascending, without repetition,
// within [first, end).
std::vector<std::uint32_t> with_neighbours(std::span<const ScoredPage> pages, std::size_t count, std::uint32_t first,
                                           std::uint32_t end);

}  // namespace rotulus::memory_store
