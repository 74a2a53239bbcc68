// What attention needs to know of this rank's group, and what it says when it could not do its part.
#pragma once

#include <string>

#include "kernels/backend.h"
#include "memory_store/kv_store.h"
#include "protocol/error.h"
#include "worker/model/hyperparameters.h"
#include "worker/parallel/layout.h"
#include "worker/parallel/transport.h"

namespace rotulus::worker {

// Constant for the life of a rank.
struct GroupSetting {
  Transport& transport;
  kernels::Backend& backend;
  memory_store::KvStore& store;
  const Hyperparameters& model;
  kernels::KvFormat format;
  VolumeHolders holders;
};

// The status word of an item on this rank.
struct AttentionFailure {
  protocol::ErrorCode code = protocol::ErrorCode::internal;
  std::string message;
  protocol::ObjectId damaged;
};

}  // namespace rotulus::worker
