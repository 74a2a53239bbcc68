#include "kernels/cpu/tile_fold.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "kernels/cpu/elementary.h"

namespace rotulus::kernels::cpu {
namespace {

constexpr float kNothing = -std::numeric_limits<float>::infinity();
constexpr std::size_t kMaxBlocks = kStripeTokens / kBlockTokens;

KvLayout layout_of(const KvFormat& format) {
  return {.type = format.type,
          .groups = format.groups(),
          .panel_bytes = format.key_offset(0, 1),
          .key_row_bytes = format.key_row_bytes(),
          .key_scales = format.key_scale_offset(0, 0),
          .value_row_bytes = format.value_row_bytes(),
          .value_scales = format.value_scale_offset(0) - format.value_offset(0)};
}

// Floats rounded up to whole cache lines.
std::size_t lines(std::size_t floats) {
  return (floats + 15) / 16 * 16;
}

}  // namespace

TileFold::TileFold(const KernelTable& table, const AttendTask& task, std::span<const double> frequencies, TileRows rows,
                   float* memory)
    : table_(table),
      task_(task),
      frequencies_(frequencies),
      rows_(rows),
      group_(task.query_heads / task.format.kv_heads),
      row_heads_(rows.row_count * group_),
      all_row_heads_(row_heads_ * rows.kv_head_count),
      layout_(layout_of(task.format)),
      dim_(task.format.head_dim),
      slot_floats_(lines(all_row_heads_ * (dim_ + 1))) {
  const auto take = [&memory](std::size_t floats) {
    float* const taken = memory;
    memory += lines(floats);
    return taken;
  };
  queries_ = take(kMaxBlocks * all_row_heads_ * kQueryStride);
  angles_ = take(dim_);
  starts_ = reinterpret_cast<std::uint32_t*>(take(row_heads_));
  limits_ = reinterpret_cast<std::uint32_t*>(take(row_heads_));
  max_ = take(all_row_heads_);
  sum_ = take(all_row_heads_);
  merge_weights_ = take(3 * all_row_heads_);
  fold_scratch_ = take(fold_scratch_floats(dim_));
  slots_ = take(kTreeDepth * slot_floats_);
  page_max_ = task.page_lse == nullptr ? nullptr : take(row_heads_ * kStripePages);
  page_sum_ = task.page_lse == nullptr ? nullptr : take(row_heads_ * kStripePages);
  const auto positions = std::span(task.positions + rows.first_row, rows.row_count);
  lowest_ = *std::min_element(positions.begin(), positions.end());
  highest_ = *std::max_element(positions.begin(), positions.end());
}

std::size_t TileFold::memory_floats(const AttendTask& task, const TileRows& rows) {
  const std::size_t row_heads = rows.row_count * (task.query_heads / task.format.kv_heads);
  const std::size_t all_row_heads = row_heads * rows.kv_head_count;
  const std::size_t dim = task.format.head_dim;
  const std::size_t page_floats = task.page_lse == nullptr ? 0 : 2 * lines(row_heads * kStripePages);
  return lines(kMaxBlocks * all_row_heads * kQueryStride) + lines(dim) + 2 * lines(row_heads) +
         2 * lines(all_row_heads) + lines(3 * all_row_heads) + lines(fold_scratch_floats(dim)) +
         kTreeDepth * lines(all_row_heads * (dim + 1)) + page_floats;
}

void TileFold::run(LaneSpan span, std::span<const Stripe> stripes, Partial into) {
  if (!fold_span(span, stripes, 0)) {
    std::fill_n(slot_out(0), all_row_heads_ * dim_, 0.0f);
    std::fill_n(slot_lse(0), all_row_heads_, kNothing);
  }
  const float* out = slot_out(0);
  const float* lse = slot_lse(0);
  for (std::uint32_t kv_head = 0; kv_head < rows_.kv_head_count; ++kv_head) {
    for (std::size_t row = 0; row < rows_.row_count; ++row, out += group_ * dim_, lse += group_) {
      const std::size_t head = first_head(row, kv_head);
      std::memcpy(into.out + head * dim_, out, group_ * dim_ * sizeof(float));
      std::memcpy(into.lse + head, lse, group_ * sizeof(float));
    }
  }
}

bool TileFold::fold_span(LaneSpan span, std::span<const Stripe> stripes, std::size_t depth) {
  if (stripes.empty()) return false;
  if (stripes.front().lane == stripes.back().lane) return fold_lane(stripes, depth);
  const LaneSpan low{span.first, span.size / 2};
  const LaneSpan high{span.first + low.size, low.size};
  const auto middle = std::partition_point(stripes.begin(), stripes.end(),
                                           [&](const Stripe& stripe) { return stripe.lane < high.first; });
  const auto count = static_cast<std::size_t>(middle - stripes.begin());
  if (!fold_span(low, stripes.first(count), depth)) return fold_span(high, stripes.subspan(count), depth);
  if (fold_span(high, stripes.subspan(count), depth + 1)) {
    merge_into(table_, dim_, all_row_heads_, slot_out(depth), slot_lse(depth), slot_out(depth + 1), slot_lse(depth + 1),
               merge_weights_);
  }
  return true;
}

bool TileFold::fold_lane(std::span<const Stripe> stripes, std::size_t depth) {
  std::fill_n(slot_out(depth), all_row_heads_ * dim_, 0.0f);
  std::fill_n(max_, all_row_heads_, kNothing);
  std::fill_n(sum_, all_row_heads_, 0.0f);
  bool any = false;
  for (const Stripe& stripe : stripes) {
    for (std::uint32_t kv_head = 0; kv_head < rows_.kv_head_count; ++kv_head)
      any |= fold_stripe(stripe, kv_head, depth);
  }
  if (any) finish_lane(depth);
  return any;
}

bool TileFold::fold_stripe(const Stripe& stripe, std::uint32_t kv_head, std::size_t depth) {
  FoldBlock blocks[kMaxBlocks];
  bool in_use[kMaxBlocks] = {};
  std::uint32_t indices[kMaxBlocks];
  std::uint32_t count = 0;
  std::fill_n(starts_, row_heads_, 0u);
  std::fill_n(limits_, row_heads_, 0u);
  for (std::uint32_t index = stripe.first_block; index < stripe.first_block + stripe.block_count; ++index) {
    const KvBlock& block = task_.blocks[index];
    const FoldBlock in_memory = stored(block, kv_head);
    if (in_memory.page_mask == 0) continue;
    const std::uint32_t seen = extend_seen(block, count * kBlockTokens);
    if (seen == 0) continue;
    indices[count] = index;
    blocks[count] = in_memory;
    blocks[count].queries = rotated_queries(block.shift, in_use) + kv_head * row_heads_ * kQueryStride;
    blocks[count++].token_count = seen;
  }
  if (count == 0) return false;
  FoldBlock next_blocks[kMaxBlocks];
  const std::uint32_t next_count = find_next(stripe, kv_head, next_blocks);
  const std::size_t first = kv_head * row_heads_;
  table_.fold_stripe({.layout = layout_,
                      .head_dim = task_.format.head_dim,
                      .row_heads = row_heads_,
                      .blocks = blocks,
                      .block_count = count,
                      .soft_cap = static_cast<float>(task_.soft_cap * kLog2E),
                      .starts = starts_,
                      .limits = limits_,
                      .out = slot_out(depth) + first * dim_,
                      .max = max_ + first,
                      .sum = sum_ + first,
                      .page_max = page_max_,
                      .page_sum = page_sum_,
                      .scratch = fold_scratch_,
                      .next_blocks = next_blocks,
                      .next_block_count = next_count});
  if (task_.page_lse != nullptr) store_page_lse(kv_head, indices, count);
  return true;
}

void TileFold::finish_lane(std::size_t depth) {
  table_.log_sums(max_, sum_, all_row_heads_, slot_lse(depth));
  for (std::size_t i = 0; i < all_row_heads_; ++i) {
    if (max_[i] == kNothing) continue;
    float* out = slot_out(depth) + i * dim_;
    table_.scale(out, 1.0f / sum_[i], dim_, out);
  }
}

// Extends what each row head sees by its part of a block; returns the end of what some row sees, 0 where none does. A
// row that sees something of two blocks sees all between them, so one range of slots tells it.
std::uint32_t TileFold::extend_seen(const KvBlock& block, std::uint32_t first_slot) {
  const auto token = [&](std::int64_t position) {
    const std::int64_t index = position - block.first_position;
    return static_cast<std::uint32_t>(std::clamp<std::int64_t>(index, 0, block.token_count));
  };
  const bool has_window = task_.window > 0;
  if (token(highest_ + 1) == 0) return 0;
  if (has_window && token(lowest_ - task_.window + 1) == block.token_count) return 0;
  std::uint32_t last = 0;
  for (std::size_t row = 0; row < rows_.row_count; ++row) {
    const std::int64_t position = task_.positions[rows_.first_row + row];
    const std::uint32_t begin = has_window ? token(position - task_.window + 1) : 0;
    const std::uint32_t end = token(position + 1);
    if (begin >= end) continue;
    last = std::max(last, end);
    const std::size_t head = row * group_;
    if (starts_[head] == limits_[head]) std::fill_n(starts_ + head, group_, first_slot + begin);
    std::fill_n(limits_ + head, group_, first_slot + end);
  }
  return last;
}

// What will probably be folded next, as it lies in memory: the same stripe for the next head, or the next stripe.
std::uint32_t TileFold::find_next(const Stripe& stripe, std::uint32_t kv_head, FoldBlock* blocks) const {
  const bool is_last_head = kv_head + 1 == rows_.kv_head_count;
  if (is_last_head && &stripe == &task_.stripes.back()) return 0;
  const Stripe& next = is_last_head ? *(&stripe + 1) : stripe;
  const std::uint32_t next_head = is_last_head ? 0 : kv_head + 1;
  for (const KvBlock& block : task_.blocks.subspan(next.first_block, next.block_count)) {
    *blocks++ = stored(block, next_head);
  }
  return next.block_count;
}

void TileFold::store_page_lse(std::uint32_t kv_head, const std::uint32_t* block_indices, std::uint32_t count) {
  for (std::size_t i = 0; i < row_heads_; ++i) {
    const std::size_t head = first_head(i / group_, kv_head) + i % group_;
    float* const into = task_.page_lse + head * task_.blocks.size() * kBlockPages;
    for (std::uint32_t b = 0; b < count; ++b) {
      const std::size_t from = i * kStripePages + b * kBlockPages;
      table_.log_sums(page_max_ + from, page_sum_ + from, kBlockPages, into + block_indices[b] * kBlockPages);
    }
  }
}

const float* TileFold::rotated_queries(std::int64_t shift, bool (&in_use)[kMaxBlocks]) {
  const std::size_t floats = all_row_heads_ * kQueryStride;
  for (std::size_t i = 0; i < kMaxBlocks; ++i) {
    if (!is_cached_[i] || shifts_[i] != shift) continue;
    in_use[i] = true;
    return queries_ + i * floats;
  }
  const auto slot = static_cast<std::size_t>(std::find(std::begin(in_use), std::end(in_use), false) - in_use);
  in_use[slot] = is_cached_[slot] = true;
  shifts_[slot] = shift;
  rotate_rows(shift, queries_ + slot * floats);
  return queries_ + slot * floats;
}

void TileFold::rotate_rows(std::int64_t shift, float* queries) {
  const std::size_t pairs = frequencies_.size();
  const Rotation rotation{.cosines = angles_,
                          .sines = angles_ + pairs,
                          .dims = task_.rope.dims,
                          .head_dim = task_.format.head_dim,
                          .neighbours = task_.rope.pairing == RopePairing::neighbours,
                          .scale = static_cast<float>(task_.scale * kLog2E)};
  for (std::size_t row = 0; row < rows_.row_count; ++row) {
    const auto position = static_cast<double>(task_.positions[rows_.first_row + row] - shift);
    table_.rope_table(position, frequencies_.data(), pairs, angles_, angles_ + pairs);
    for (std::uint32_t kv_head = 0; kv_head < rows_.kv_head_count; ++kv_head) {
      const float* from = task_.queries + first_head(row, kv_head) * dim_;
      float* to = queries + (kv_head * row_heads_ + row * group_) * kQueryStride;
      for (std::uint32_t h = 0; h < group_; ++h) table_.rotate(rotation, from + h * dim_, to + h * kQueryStride);
    }
  }
}

// A block as it lies in memory; how the tile sees it is left to the caller.
FoldBlock TileFold::stored(const KvBlock& block, std::uint32_t kv_head) const {
  const std::uint32_t head = rows_.first_kv_head + kv_head;
  return {.keys = block.data + task_.format.key_offset(head, 0),
          .values = block.data + task_.format.value_offset(head),
          .queries = nullptr,
          .token_count = block.token_count,
          .page_mask = block.head_masks != nullptr ? block.head_masks[head] : block.page_mask};
}

}  // namespace rotulus::kernels::cpu
