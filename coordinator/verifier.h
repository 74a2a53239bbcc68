// Reads what is stored of contexts from the disks that hold it, one chunk after the other over all its volumes at once.
// What is damaged is told to the owner, who has it computed again; a second pass then finds it whole.
//
// A chunk that is being computed again is passed over. A lost group costs the chunk at hand, which is read once more.
// Threads: the event loop.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <vector>

#include "coordinator/contexts.h"
#include "coordinator/worker_group.h"

namespace rotulus::coordinator {

class Verifier final {
 public:
  struct Owner {
    // The chunks of a context, object 0 where one is being computed; nullptr where it is gone.
    std::function<const std::vector<protocol::ObjectRecord>*(ContextId)> chunks;
    // The chunk cannot be read as it was written.
    std::function<void(const protocol::ChunkDamaged&)> on_damaged;
    std::function<void(ContextId, const VerificationView&)> on_finished;
  };
  Verifier(WorkerGroup& group, Owner owner) : group_(group), owner_(std::move(owner)) {}

  // Begins a pass; one that waits or is under way goes on.
  void begin(ContextId id);
  void forget(ContextId id) { views_.erase(id); }
  // Of the present or the last pass in this life.
  std::optional<VerificationView> view(ContextId id) const;

  void on_verified(const protocol::ObjectVerified& verified);
  void on_group_ready() { pump(); }
  void on_group_lost() { awaited_.clear(); }

 private:
  void pump();
  bool ask_for_next_chunk(ContextId id, VerificationView& view);
  void finish_chunk();
  void finish();

  WorkerGroup& group_;
  const Owner owner_;
  std::map<ContextId, VerificationView> views_;
  std::deque<ContextId> queue_;             // the first is under way
  std::set<protocol::VolumeId> awaited_;    // to answer for the chunk at hand
  protocol::ObjectVerified chunk_at_hand_;  // summed over its volumes
};

}  // namespace rotulus::coordinator
