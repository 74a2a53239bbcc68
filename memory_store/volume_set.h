// The volumes that this rank holds. Made at opening and constant from then on, but for `is_accepted`.
#pragma once

#include <atomic>
#include <map>
#include <memory>

#include "memory_store/tier.h"
#include "protocol/error.h"

namespace rotulus::memory_store {

struct HeldVolume {
  std::unique_ptr<Volume> volume;
  std::atomic<bool> is_accepted = false;  // reconcile() has accepted the catalogue for it: things may be erased
};

using VolumeSet = std::map<VolumeId, HeldVolume>;

inline Volume& find_volume(const VolumeSet& volumes, VolumeId id) {
  const auto found = volumes.find(id);
  if (found == volumes.end()) {
    throw protocol::Error(protocol::ErrorCode::unavailable, fmt::format("volume {} is not held by this rank", id));
  }
  return *found->second.volume;
}

}  // namespace rotulus::memory_store
