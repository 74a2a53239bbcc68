// Attention over a whole worker group for the rows of one step: appends new keys where their lanes live, lets every
// row meet every key it may see, and merges. Rows, keys and ranks meet in one of two ways:
//
//   ring      (pass-KV)  pieces of keys travel round the ring, each rank attends them with its own rows
//   gathered  (pass-Q)   queries go to all ranks, each attends over its own lanes, tree nodes come back
//
// Both compute the same nodes of the same lane tree, so which one is taken leaves no trace in the bits; it is chosen
// for a whole group of rows by the bytes that would travel. One rank needs neither.
//
// A layer that slides shows its rows their window, in whatever mode: only the blocks that it touches are loaded, and of
// a chunk only those stay that a row behind it can see (protocol/kv_cost.h).
//
// Not every row sees every key of the other layers. The rows of a document beyond the model's window see its first
// block and a local window; the rows of a request under retrieval what its pages were chosen to be (retrieval.h). They
// go in tiles, always gathered: their keys are few, and those who own the keys choose among them.
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
#include "worker/parallel/group_setting.h"
#include "worker/parallel/retrieval.h"
#include "worker/parallel/tail.h"

namespace rotulus::worker {

enum class Strategy : std::uint8_t { automatic, ring, gathered };

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
  bool appends_to_context = false;                     // the rows' keys become part of it …
  std::uint64_t chunk_end = 0;                         // … of the chunk that ends here
  protocol::RetrievalParameters kept;                  // of the context: landmarks, and what later rows see
  Tail* tail = nullptr;                                // the request's, on its home rank
  Retrieval* retrieval = nullptr;                      // of the request; nullptr: exact, without votes
  bool votes = false;                                  // the rows' votes count
  bool measures = false;                               // what is left out of the last row is measured …
  bool audits = false;                                 // … and compared with attention to everything
  bool is_prefill = false;                             // pages are chosen for tiles, not for single rows
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
  void choose_keys(RowGroup& rows, std::uint32_t layer);
  void attend_group(RowGroup& rows, std::uint32_t layer, kernels::ConstMatrix query, kernels::Matrix out);
  void audit(RowGroup& rows, std::uint32_t layer);
  void merge_rows(RowGroup& rows, std::uint32_t layer);
  void attend_tail(RowGroup& rows, std::uint32_t layer);

  const GroupSetting& group_;
  std::vector<AttentionItem>& items_;
  std::unique_ptr<kernels::Stream> stream_;
  std::unique_ptr<KeyDelivery> delivery_;
  std::vector<std::unique_ptr<RowGroup>> groups_;
};

}  // namespace rotulus::worker
