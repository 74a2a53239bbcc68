// Answers the coordinator's messages about volumes (ReconcileVolume, ListManifests, EraseObjects), beside the steps.
//
// Threads: the control link's service thread; KvStore allows one such beside the engine.
#pragma once

#include <functional>
#include <map>
#include <vector>

#include "memory_store/kv_store.h"
#include "protocol/messages.h"

namespace rotulus::worker {

class VolumeService final {
 public:
  VolumeService(memory_store::KvStore& store, std::function<void(protocol::Message)> reply)
      : store_(store), reply_(std::move(reply)) {}

  // False: not a message about volumes. Failures are replies (VolumeReconciled::refused) or are logged by the store.
  bool serve(const protocol::Message& message);

 private:
  void reconcile(const protocol::ReconcileVolume& piece);
  void list(const protocol::ListManifests& request);

  memory_store::KvStore& store_;
  std::function<void(protocol::Message)> reply_;
  std::map<protocol::VolumeId, std::vector<protocol::ReconcileVolume::Live>> live_;  // pieces so far
};

}  // namespace rotulus::worker
