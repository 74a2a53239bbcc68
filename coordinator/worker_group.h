// The worker group as contexts, queries and text services see it: one life of one mpirun job, ready or not.
// Membership (membership.h) is the implementation. Event loop only.
#pragma once

#include <string>

#include "protocol/messages.h"

namespace rotulus::coordinator {

class WorkerGroup {
 public:
  virtual ~WorkerGroup() = default;

  virtual bool is_ready() const = 0;          // all ranks there, all volumes reconciled, not draining
  virtual protocol::Epoch epoch() const = 0;  // of the present group
  virtual std::string state() const = 0;      // for people: what it waits for
  // Of the present or the last group; requires that there was one.
  virtual bool has_model() const = 0;
  virtual const protocol::ModelFacts& model() const = 0;
  virtual const protocol::ContextParameters& parameters() const = 0;

  virtual bool holds(protocol::VolumeId volume) const = 0;  // on a rank of the present group, reconciled
  virtual std::uint64_t bytes_free() const = 0;             // on the disks of those volumes
  virtual protocol::Placement placement() const = 0;        // of a new object on them; empty: a rank has none

  // Each does nothing while no group is ready: what was given to a lost group is lost with it.
  // Throws Error{payload_too_large} for what does not fit a frame.
  virtual void send_text(const protocol::Message& message) = 0;  // to rank 0, beside the steps
  virtual void send_work(const protocol::Message& message) = 0;  // to rank 0, after a Wake to all others
  virtual void send_all(const protocol::Message& message) = 0;
  virtual void send_to_holder(protocol::VolumeId volume,
                              const protocol::Message& message) = 0;  // to the one that holds it
  // Whether a producer of many messages may go on; on_room() tells when it may again.
  virtual bool has_room() const = 0;
};

// What is told of it. A listener is added before the first connection and outlives the group.
class GroupListener {
 public:
  virtual ~GroupListener() = default;
  virtual void on_group_ready() {}
  virtual void on_group_lost(const std::string&) {}
  virtual void on_message(const protocol::Message&) {}  // from rank 0: text and work; from any: of volumes
  virtual void on_room() {}
};

}  // namespace rotulus::coordinator
