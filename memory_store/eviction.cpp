#include "memory_store/eviction.h"

#include "memory_store/policies/least_frequently_used.h"
#include "memory_store/policies/least_recently_used.h"

namespace rotulus::memory_store {

std::unique_ptr<EvictionPolicy> make_eviction_policy(Eviction kind, std::size_t slot_count) {
  switch (kind) {
    case Eviction::lru:
      return std::make_unique<LeastRecentlyUsed>(slot_count);
    case Eviction::frequent:
      return std::make_unique<LeastFrequentlyUsed>(slot_count);
  }
  return nullptr;
}

}  // namespace rotulus::memory_store
