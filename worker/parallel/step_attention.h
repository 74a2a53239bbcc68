// Attention over a whole worker group for the rows of one step: appends new keys where their lanes live, lets every
// row meet every key it may see, and merges. Rows, keys and ranks meet in one of two ways:
//
//   ring      (pass-KV)  pieces of keys travel round the ring, each rank attends them with its own rows
//   gathered  (pass-Q)   queries go to all ranks, each attends over its own lanes, tree nodes come back
//
// Both compute the same nodes of the same lane tree, so which one is taken leaves no trace in the bits; it is chosen
// for a whole group of rows by the bytes that would travel. One rank needs neither.
//
// A rank that cannot read a block, or has no room, marks the items concerned as failed and keeps taking part in every
// exchange for the others. Transport errors are not caught: they end the worker group.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "kernels/backend.h"
#include "memory_store/kv_store.h"
#include "protocol/error.h"
#include "worker/model/context_attention.h"
#include "worker/parallel/layout.h"
#include "worker/parallel/tail.h"
#include "worker/parallel/transport.h"

namespace rotulus::worker {

// What attention needs to know of this rank's group; constant for its life.
struct GroupSetting {
  Transport& transport;
  kernels::Backend& backend;
  memory_store::KvStore& store;
  kernels::KvFormat format;
  std::uint32_t query_heads = 0;
  std::uint32_t layers = 0;
  kernels::Rope rope;
  float softmax_scale = 0;
  VolumeHolders holders;
};

enum class Strategy : std::uint8_t { automatic, ring, gathered };

// The status word of an item on this rank.
struct AttentionFailure {
  protocol::ErrorCode code = protocol::ErrorCode::internal;
  std::string message;
  protocol::ObjectId damaged;
};

// Rows of one item that one rank computes.
struct ItemRun {
  std::uint32_t rank = 0;
  std::size_t count = 0;  // may be 0
  std::int64_t first_position = 0;
  std::size_t local_row = 0;  // of the first in that rank's matrices; meaningful on that rank only
};

struct AttentionItem {
  const std::vector<ChunkLocation>* chunks = nullptr;  // of the context; nullptr: the rows see a tail only
  std::uint64_t visible_end = 0;                       // keys [0, visible_end) of the context, new ones included
  bool appends_to_context = false;                     // the rows' keys become part of it
  Tail* tail = nullptr;                                // the request's, on its home rank
  std::vector<ItemRun> runs;                           // ascending positions
  std::optional<AttentionFailure> failure;
};

class KeyDelivery;

class StepAttention final : public ContextAttention {
 public:
  // `items` is borrowed and their failures are filled in.
  StepAttention(const GroupSetting& group, std::vector<AttentionItem>& items, Strategy strategy);
  ~StepAttention() override;

  void attend(std::uint32_t layer, kernels::ConstMatrix query, kernels::Matrix key, kernels::ConstMatrix value,
              kernels::Matrix out) override;

  struct RowGroup;  // items that attend the same keys; row_group.h

 private:
  void append_to_tails(std::uint32_t layer, kernels::ConstMatrix key, kernels::ConstMatrix value);
  void attend_group(RowGroup& rows, std::uint32_t layer, kernels::ConstMatrix query, kernels::Matrix out);
  void attend_tail(RowGroup& rows, std::uint32_t layer);

  const GroupSetting& group_;
  std::vector<AttentionItem>& items_;
  std::unique_ptr<kernels::Stream> stream_;
  std::unique_ptr<KeyDelivery> delivery_;
  std::vector<std::unique_ptr<RowGroup>> groups_;
};

}  // namespace rotulus::worker
