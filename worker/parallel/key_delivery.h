// New keys and values of a step on their way to the ranks that own their lanes, where they are appended to the store.
#pragma once

#include <cstdint>
#include <vector>

#include "worker/parallel/step_attention.h"

namespace rotulus::worker {

// A run of rows of one item that lies in one stripe, so goes from one rank to one owner.
struct KeySegment {
  std::size_t item = 0;
  std::uint32_t from = 0;
  std::uint32_t to = 0;
  std::int64_t position = 0;
  std::size_t count = 0;
  std::size_t local_row = 0;  // on `from`
};

class KeyDelivery final {
 public:
  KeyDelivery(const GroupSetting& group, std::vector<AttentionItem>& items);

  // key rotated. [rows, kv_heads * head_dim]
  void deliver(std::uint32_t layer, kernels::ConstMatrix key, kernels::ConstMatrix value, kernels::Stream& stream);
  // After the step's rows were attended: drops the blocks of this rank that in this layer no row behind them sees.
  void discard_unseen(std::uint32_t layer);

 private:
  void append(const KeySegment& segment, std::uint32_t layer, const float* key, const float* value,
              kernels::Stream& stream);
  void summarize(const AttentionItem& item, std::uint32_t layer, std::uint32_t block, const std::byte* keys,
                 kernels::Stream& stream);

  const GroupSetting& group_;
  std::vector<AttentionItem>& items_;
  std::size_t width_;                             // floats of a row of keys
  std::vector<KeySegment> segments_;              // in an order that all ranks share
  std::vector<std::vector<std::byte>> outgoing_;  // [rank]
  std::vector<std::vector<std::byte>> incoming_;  // [rank]
};

}  // namespace rotulus::worker
