#include "memory_store/selection.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <map>
#include <set>

namespace rotulus::memory_store {

using protocol::kPagesPerBlock;

bool is_better(const ScoredPage& a, const ScoredPage& b) {
  const bool a_is_number = !std::isnan(a.score);
  const bool b_is_number = !std::isnan(b.score);
  if (a_is_number != b_is_number) return a_is_number;
  if (a_is_number && a.score != b.score) return a.score > b.score;
  return a.page < b.page;
}

void keep_best(std::vector<ScoredPage>& pages, std::size_t count) {
  if (pages.size() > count) {
    std::nth_element(pages.begin(), pages.begin() + static_cast<std::ptrdiff_t>(count), pages.end(), is_better);
    pages.resize(count);
  }
  std::sort(pages.begin(), pages.end(), is_better);
}

std::size_t Selection::count_common(const Selection& other) const {
  const std::size_t kv_heads = blocks.empty() ? 0 : masks.size() / blocks.size();
  std::size_t common = 0;
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    const auto found = std::lower_bound(other.blocks.begin(), other.blocks.end(), blocks[i]);
    if (found == other.blocks.end() || *found != blocks[i]) continue;
    const std::uint8_t* of_other =
        other.masks.data() + static_cast<std::size_t>(found - other.blocks.begin()) * kv_heads;
    for (std::size_t head = 0; head < kv_heads; ++head) {
      common += static_cast<std::size_t>(
          std::popcount(static_cast<std::uint8_t>(masks[i * kv_heads + head] & of_other[head])));
    }
  }
  return common;
}

std::size_t Selection::largest(std::uint32_t kv_heads) const {
  std::size_t most = 0;
  for (std::uint32_t head = 0; head < kv_heads; ++head) {
    std::size_t pages = 0;
    for (std::size_t i = 0; i < blocks.size(); ++i) {
      pages += static_cast<std::size_t>(std::popcount(masks[i * kv_heads + head]));
    }
    most = std::max(most, pages);
  }
  return most;
}

Selection select_pages(std::span<const std::vector<ScoredPage>> best, std::span<const std::uint32_t> pins,
                       std::size_t budget) {
  std::map<std::uint32_t, std::vector<std::uint8_t>> blocks;
  const auto take = [&](std::size_t head, std::uint32_t page) {
    auto& masks = blocks[page / kPagesPerBlock];
    masks.resize(best.size());
    const auto bit = static_cast<std::uint8_t>(1u << page % kPagesPerBlock);
    const bool is_new = (masks[head] & bit) == 0;
    masks[head] = static_cast<std::uint8_t>(masks[head] | bit);
    return is_new;
  };
  for (std::size_t head = 0; head < best.size(); ++head) {
    std::size_t taken = 0;
    for (const std::uint32_t page : pins) taken += take(head, page);
    for (const ScoredPage& scored : best[head]) {
      if (taken >= budget) break;
      taken += take(head, scored.page);
    }
  }
  Selection selection;
  for (const auto& [block, masks] : blocks) {
    selection.blocks.push_back(block);
    selection.masks.insert(selection.masks.end(), masks.begin(), masks.end());
  }
  return selection;
}

std::vector<std::uint32_t> with_neighbours(std::span<const ScoredPage> pages, std::size_t count, std::uint32_t first,
                                           std::uint32_t end) {
  std::set<std::uint32_t> chosen;
  for (const ScoredPage& scored : pages.first(std::min(count, pages.size()))) {
    const std::uint32_t low = scored.page > first ? scored.page - 1 : first;
    for (std::uint32_t page = low; page <= scored.page + 1 && page < end; ++page) chosen.insert(page);
  }
  return {chosen.begin(), chosen.end()};
}

}  // namespace rotulus::memory_store
