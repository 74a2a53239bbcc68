// The best pages do not depend on who holds which of them, and a selection holds what it promises.
#include "memory_store/selection.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

namespace rotulus::memory_store {
namespace {

std::vector<ScoredPage> any_pages() {
  std::vector<ScoredPage> pages;
  const auto count = *rc::gen::inRange<std::uint32_t>(0, 200);
  // Few different scores, so that ties are common.
  for (std::uint32_t page = 0; page < count; ++page) {
    pages.push_back({static_cast<float>(*rc::gen::inRange(0, 5)), page});
  }
  return pages;
}

TEST(Selection, TheBestOfTheBestOfPartsAreTheBestOfAll) {
  rc::check("however pages are dealt to ranks", [] {
    std::vector<ScoredPage> all = any_pages();
    const auto count = *rc::gen::inRange<std::size_t>(0, 50);
    const auto ranks = *rc::gen::inRange<std::uint32_t>(1, 5);
    std::vector<std::vector<ScoredPage>> parts(ranks);
    for (const ScoredPage& page : all) parts[*rc::gen::inRange<std::uint32_t>(0, ranks)].push_back(page);
    std::vector<ScoredPage> merged;
    for (auto& part : parts) {
      keep_best(part, count);
      merged.insert(merged.end(), part.begin(), part.end());
    }
    keep_best(merged, count);
    keep_best(all, count);
    RC_ASSERT(merged == all);
  });
}

TEST(Selection, EqualScoresGoToTheLowerPageAndNaNToNobody) {
  std::vector<ScoredPage> pages = {{std::nanf(""), 0}, {1.0f, 7}, {2.0f, 9}, {2.0f, 3}};
  keep_best(pages, 3);
  EXPECT_EQ(pages, (std::vector<ScoredPage>{{2.0f, 3}, {2.0f, 9}, {1.0f, 7}}));
}

TEST(Selection, HoldsPinsForEveryHeadAndTheBudgetExactly) {
  rc::check("every KV head has the pins and as many pages as the budget, or all there are", [] {
    const auto heads = *rc::gen::inRange<std::uint32_t>(1, 4);
    std::vector<std::vector<ScoredPage>> best;
    for (std::uint32_t head = 0; head < heads; ++head) {
      best.push_back(any_pages());
      keep_best(best.back(), best.back().size());
    }
    std::vector<std::uint32_t> pins;
    for (std::uint32_t page = 0; page < 400; page += *rc::gen::inRange<std::uint32_t>(40, 120)) pins.push_back(page);
    const auto budget = *rc::gen::inRange<std::size_t>(pins.size(), 150);
    const Selection selection = select_pages(best, pins, budget);
    RC_ASSERT(std::is_sorted(selection.blocks.begin(), selection.blocks.end()));
    for (std::uint32_t head = 0; head < heads; ++head) {
      std::set<std::uint32_t> want(pins.begin(), pins.end());
      for (const ScoredPage& page : best[head]) {
        if (want.size() < budget) want.insert(page.page);
      }
      std::set<std::uint32_t> got;
      for (std::size_t i = 0; i < selection.blocks.size(); ++i) {
        for (std::uint32_t bit = 0; bit < 8; ++bit) {
          if (selection.masks[i * heads + head] >> bit & 1u) got.insert(selection.blocks[i] * 8 + bit);
        }
      }
      RC_ASSERT(got == want);
      RC_ASSERT(selection.largest(heads) >= got.size());
    }
  });
}

TEST(Selection, NeighboursStayWithinTheCandidates) {
  const std::vector<ScoredPage> pages = {{3.0f, 8}, {2.0f, 30}, {1.0f, 31}, {0.5f, 20}};
  EXPECT_EQ(with_neighbours(pages, 3, 8, 32), (std::vector<std::uint32_t>{8, 9, 29, 30, 31}));
}

TEST(Selections, CountWhatTheyShare) {
  const Selection a{{1, 4, 9}, {0b11, 0b1, 0b100, 0, 0xff, 0x0f}};
  const Selection b{{4, 5, 9}, {0b101, 0b1, 0xff, 0xff, 0xf0, 0xff}};
  EXPECT_EQ(a.count_common(a), 3u + 1u + 12u);
  EXPECT_EQ(a.count_common(b), 1u + 4u + 4u);
  EXPECT_EQ(b.count_common(a), a.count_common(b));
  EXPECT_EQ(a.count_common({}), 0u);
  EXPECT_EQ(Selection{}.count_common(a), 0u);
}

}  // namespace
}  // namespace rotulus::memory_store
