// The life of a rank between its start and its end: plan, broadcast, execute, gather; parked when there is nothing.
#pragma once

#include <cstdint>
#include <vector>

#include "protocol/messages.h"
#include "worker/parallel/transport.h"
#include "worker/rank_engine.h"
#include "worker/scheduler.h"

namespace rotulus::worker {

// Where work comes from (control_link.h; a queue in tests). See protocol::Wake for the numbers.
class WorkSource {
 public:
  virtual ~WorkSource() = default;
  virtual std::vector<protocol::Message> take_work() = 0;  // rank 0, what has arrived, in order; never blocks
  virtual std::uint64_t work_seen() = 0;                   // the last one taken; other ranks: the last Wake
  virtual void park(std::uint64_t seen) = 0;               // until there is work beyond `seen`, or the end has come
  virtual bool is_stopping() = 0;                          // asked before each step; rank 0's ends the worker group
};

// Runs until rank 0 stops the group. `scheduler` on rank 0 only. Throws Error{transport_lost}.
void serve_rank(Transport& transport, RankEngine& engine, Scheduler* scheduler, WorkSource& source);

}  // namespace rotulus::worker
