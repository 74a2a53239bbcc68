// Which rows of a step share one pass over the same keys.
#include <algorithm>
#include <optional>
#include <utility>

#include "protocol/token_range.h"
#include "worker/parallel/row_group.h"

namespace rotulus::worker {
namespace {

using protocol::kBlockTokens;
using RowGroup = StepAttention::RowGroup;

constexpr std::int64_t kTile = kBlockTokens;

// A group before it is made.
struct Plan {
  // Exact: rows of whatever item that see the first `visible_end` tokens of one context.
  std::optional<std::pair<const void*, std::uint64_t>> shared_keys;
  std::vector<RowGroup::Segment> segments;
  std::vector<VisibleBlock> blocks;
  std::uint64_t visible_end = 0;
  Retrieval* retrieval = nullptr;
  bool selects = false;
  bool scans = false;
  bool votes = false;
  bool measures = false;
  std::int64_t tile_end = 0;
};

// The rows of a run at positions [begin, end).
ItemRun part_of(const ItemRun& run, std::int64_t begin, std::int64_t end) {
  ItemRun part = run;
  begin = std::max(begin, run.first_position);
  end = std::min(end, run.first_position + static_cast<std::int64_t>(run.count));
  part.first_position = begin;
  part.local_row = run.local_row + static_cast<std::size_t>(begin - run.first_position);
  part.count = end > begin ? static_cast<std::size_t>(end - begin) : 0;
  return part;
}

// What the rows of a document's tile beyond the window see: the window where it stands, and the first block as if it
// stood right before it.
std::vector<VisibleBlock> window_blocks(const protocol::RetrievalParameters& kept, std::int64_t tile,
                                        std::uint64_t visible_end) {
  std::vector<VisibleBlock> all = all_blocks(visible_end);
  const std::int64_t first = tile - kept.local_tokens / kBlockTokens;
  if (first <= 0) return all;
  std::vector<VisibleBlock> seen{all.front()};
  seen.front().shift = (first - 1) * kTile;
  seen.insert(seen.end(), all.begin() + static_cast<std::ptrdiff_t>(first), all.end());
  return seen;
}

class Dealer final {
 public:
  explicit Dealer(const std::vector<AttentionItem>& items) : items_(items) {}

  std::vector<Plan> deal() {
    for (std::size_t item = 0; item < items_.size(); ++item) {
      if (items_[item].retrieval) {
        deal_request(item);
      } else if (items_[item].appends_to_context && items_[item].kept.landmark_version != 0) {
        deal_document(item);
      } else {
        share(item, items_[item].runs, items_[item].visible_end);
      }
    }
    return std::move(plans_);
  }

 private:
  void share(std::size_t item, const std::vector<ItemRun>& runs, std::uint64_t visible_end) {
    const auto keys = std::make_pair(static_cast<const void*>(items_[item].chunks), visible_end);
    auto plan = std::find_if(plans_.begin(), plans_.end(), [&](const Plan& p) { return p.shared_keys == keys; });
    if (plan == plans_.end()) {
      plan = plans_.insert(plans_.end(), Plan{});
      plan->shared_keys = keys;
      plan->visible_end = visible_end;
      if (items_[item].chunks) plan->blocks = all_blocks(visible_end);
    }
    for (const ItemRun& run : runs) plan->segments.push_back({item, run});
  }

  void deal_document(std::size_t item) {
    const auto exact_end = static_cast<std::int64_t>(items_[item].kept.exact_tokens);
    std::vector<ItemRun> inside;
    for (const ItemRun& run : items_[item].runs) {
      const ItemRun part = part_of(run, 0, exact_end);
      if (part.count > 0) inside.push_back(part);
    }
    if (!inside.empty()) {
      share(item, inside, std::min<std::uint64_t>(items_[item].visible_end, items_[item].kept.exact_tokens));
    }
    deal_tiles(item, exact_end, kTile, [&](Plan& plan, std::int64_t tile) {
      plan.blocks = window_blocks(items_[item].kept, tile, items_[item].visible_end);
    });
  }

  // A question's rows choose their pages a tile together, an answer's row for itself and those behind it.
  void deal_request(std::size_t item) {
    const AttentionItem& given = items_[item];
    const std::int64_t unit = given.is_prefill ? kTile : given.retrieval->selection_interval();
    deal_tiles(item, 0, unit, [&](Plan& plan, std::int64_t) {
      const std::int64_t first = plan.segments.front().run.first_position;
      plan.retrieval = given.retrieval;
      plan.selects = given.is_prefill || first % unit == 0;
      plan.scans = given.is_prefill || first % given.retrieval->scan_interval() == 0;
      plan.votes = given.votes;
      plan.tile_end = (first / kTile + 1) * kTile;
    });
    plans_.back().measures = given.measures;
  }

  // One plan for each `unit` positions from `first_position` on in which the item has rows.
  template <typename Finish>
  void deal_tiles(std::size_t item, std::int64_t first_position, std::int64_t unit, const Finish& finish) {
    std::int64_t current = -1;
    for (const ItemRun& run : items_[item].runs) {
      const std::int64_t end = run.first_position + static_cast<std::int64_t>(run.count);
      for (std::int64_t at = std::max(run.first_position, first_position); at < end;) {
        const std::int64_t tile = at / unit;
        if (tile != current) plans_.emplace_back();
        const ItemRun part = part_of(run, at, (tile + 1) * unit);
        plans_.back().segments.push_back({item, part});
        plans_.back().visible_end = items_[item].visible_end;
        if (tile != current) finish(plans_.back(), tile);
        current = tile;
        at += static_cast<std::int64_t>(part.count);
      }
    }
  }

  const std::vector<AttentionItem>& items_;
  std::vector<Plan> plans_;
};

// By the bytes that one rank would receive: keys of the other ranks, or all queries and then nodes of its own rows.
bool ring_is_cheaper(const GroupSetting& group, const RowGroup& rows, const Layout& layout) {
  std::size_t row_count = 0;
  for (const std::size_t count : rows.row_counts) row_count += count;
  const double row_bytes = sizeof(float) * double(group.model.query_heads) * group.format.head_dim;
  const double gathered = 2 * row_bytes * double(row_count);
  const double ring = double(layout.block_count() * kBlockTokens) * double(group.format.token_bytes());
  return ring < gathered;
}

}  // namespace

std::vector<std::unique_ptr<RowGroup>> deal_rows(const GroupSetting& group, std::vector<AttentionItem>& items,
                                                 Strategy strategy) {
  std::vector<std::unique_ptr<RowGroup>> groups;
  for (Plan& plan : Dealer(items).deal()) {
    auto rows = std::make_unique<RowGroup>(group, items, plan.segments, plan.blocks, plan.visible_end);
    for (RowGroup::Keys* keys : {&rows->full, &rows->sliding}) {
      if (!keys->layout || !plan.shared_keys) continue;
      keys->by_ring = group.transport.size() == 1 || strategy == Strategy::ring ||
                      (strategy == Strategy::automatic && ring_is_cheaper(group, *rows, *keys->layout));
    }
    rows->retrieval = plan.retrieval;
    rows->selects = plan.selects;
    rows->scans = plan.scans;
    rows->votes = plan.votes;
    rows->measures = plan.measures;
    rows->tile_end = plan.tile_end;
    groups.push_back(std::move(rows));
  }
  for (std::size_t i = 0; i < groups.size(); ++i) groups[i]->next = groups[(i + 1) % groups.size()].get();
  if (!groups.empty()) groups.back()->is_last = true;
  return groups;
}

}  // namespace rotulus::worker
