// Answers the coordinator's messages about volumes (ReconcileVolume, ListManifests, EraseObjects, WriteSlice,
// CommitObject; VerifyObject, ReadSlice), beside the steps.
//
// Threads: the control link's volume thread, since KvStore allows one such beside the engine; read() its read thread.
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

  // Failures are replies (VolumeReconciled::refused, an empty last page …) or warnings, never exceptions.
  void handle(const protocol::Message& message);
  // VerifyObject, ReadSlice. Gives its thread a low priority for good: it gets what the steps leave.
  void read(const protocol::Message& message);

 private:
  void reconcile(const protocol::ReconcileVolume& piece);
  void list(const protocol::ListManifests& request);
  void erase(const protocol::EraseObjects& request);
  void write_slice(const protocol::WriteSlice& part);
  void commit(const protocol::CommitObject& order);
  void verify(const protocol::VerifyObject& request);
  void read_slice(const protocol::ReadSlice& request);

  memory_store::KvStore& store_;
  std::function<void(protocol::Message)> reply_;
  std::function<void(const std::string&)> warn_;
  std::map<protocol::VolumeId, std::vector<protocol::ReconcileVolume::Live>> live_;  // pieces so far
  std::string slice_;  // parts so far: those of one slice come one behind the other
};

}  // namespace rotulus::worker
