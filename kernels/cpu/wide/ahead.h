// Memory that will be read soon, asked into L2 line by line between the instructions that read what comes before it.
//
// Not into L1: a second prefetch of the lines 2 KiB ahead took a stream of f16 keys from 25 GB/s to 17 on Zen 4. And
// never many lines at once: the core stops at a prefetch that finds no free miss buffer.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/kv_format.h"

namespace rotulus::kernels::cpu {
namespace {

constexpr std::size_t kLineBytes = 64;

class Ahead {
 public:
  struct Lines {
    const std::byte* from;
    std::size_t stride;  // bytes
    std::size_t count;
  };

  // Walks the lines; stays at the last one.
  class Cursor {
   public:
    [[gnu::always_inline]] void step() {
      __builtin_prefetch(at_, 0, 2);
      at_ += stride_;
      if (--left_ == 0) [[unlikely]]
        start(range_ + 1, 0);
    }
    [[gnu::always_inline]] void start(const Lines* range, std::size_t first) {
      range_ = range;
      at_ = range->from + first * range->stride;
      stride_ = range->stride;
      left_ = range->count - first;
    }

   private:
    const Lines* range_;
    const std::byte* at_;
    std::size_t stride_;
    std::size_t left_;
  };

  // `rows` rows of `bytes` each, `stride` apart.
  void add(const std::byte* from, std::size_t bytes, std::size_t stride, std::size_t rows) {
    if (rows == 0) return;
    const std::size_t offset = reinterpret_cast<std::uintptr_t>(from) % kLineBytes;
    if (bytes == stride || stride < kLineBytes) {
      add_lines(from - offset, kLineBytes, (offset + (rows - 1) * stride + bytes + kLineBytes - 1) / kLineBytes);
      return;
    }
    for (std::size_t at = 0; at < offset + bytes; at += kLineBytes) add_lines(from - offset + at, stride, rows);
  }
  std::size_t lines() const { return lines_; }
  void limit(std::size_t more_lines) { room_ = more_lines; }

  // Behind the last add: the cursor is put on line `first`. `anywhere` is memory that may be asked for at the end.
  void start(std::size_t first, const std::byte* anywhere) {
    ranges_[range_count_] = {range_count_ == 0 ? anywhere : ranges_[range_count_ - 1].from, 0, ~std::size_t{0}};
    const Lines* range = ranges_;
    while (range < ranges_ + range_count_ && first >= range->count) first -= range++->count;
    cursor.start(range, first);
  }

  Cursor cursor;

 private:
  void add_lines(const std::byte* from, std::size_t stride, std::size_t count) {
    if (count > room_) count = room_;
    if (count == 0) return;
    lines_ += count;
    room_ -= count;
    Lines* const before = range_count_ == 0 ? nullptr : &ranges_[range_count_ - 1];
    if (before != nullptr && before->stride == stride && before->from + before->count * stride == from) {
      before->count += count;
    } else {
      ranges_[range_count_++] = {from, stride, count};
    }
  }

  // Two stripes, every other page of them at worst: of its keys, and of its values, up to three lines side by side, or
  // one of codes and one of scales.
  static constexpr std::size_t kMaxRanges = 2 * kStripeTokens / kPageTokens * 3;

  Lines ranges_[kMaxRanges + 1];
  std::size_t range_count_ = 0;
  std::size_t lines_ = 0;
  std::size_t room_ = ~std::size_t{0};
};

}  // namespace
}  // namespace rotulus::kernels::cpu
