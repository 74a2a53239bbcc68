// Answers the coordinator's messages about volumes (ReconcileVolume, ListManifests, EraseObjects, VerifyObject), beside
// the steps.
//
// Threads: the control link's volume thread, since KvStore allows one such beside the engine; verify() its verify
// thread.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "memory_store/kv_store.h"
#include "protocol/messages.h"

namespace rotulus::worker {

class VolumeService final {
 public:
  // `warn` is told what nobody waits for: an erase that failed (the objects are garbage, collected at the next
  // opening).
  VolumeService(memory_store::KvStore& store, std::function<void(protocol::Message)> reply,
                std::function<void(const std::string&)> warn)
      : store_(store), reply_(std::move(reply)), warn_(std::move(warn)) {}

  // Failures are replies (VolumeReconciled::refused, an empty last page) or warnings, never exceptions.
  void handle(const protocol::Message& message);
  // VerifyObject. Gives its thread a low priority for good: it gets what the steps leave.
  void verify(const protocol::Message& message);

 private:
  void reconcile(const protocol::ReconcileVolume& piece);
  void list(const protocol::ListManifests& request);
  void erase(const protocol::EraseObjects& request);

  memory_store::KvStore& store_;
  std::function<void(protocol::Message)> reply_;
  std::function<void(const std::string&)> warn_;
  std::map<protocol::VolumeId, std::vector<protocol::ReconcileVolume::Live>> live_;  // pieces so far
};

}  // namespace rotulus::worker
