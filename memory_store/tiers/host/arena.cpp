#include "memory_store/tiers/host/arena.h"

#include <sys/mman.h>

#include <cerrno>
#include <cstdint>
#include <cstring>

#include "kernels/kv_format.h"
#include "protocol/error.h"

namespace rotulus::memory_store {

HostArena::HostArena(std::size_t slot_bytes, std::size_t slot_count)
    : slot_bytes_(slot_bytes), bytes_(slot_bytes * slot_count) {
  CHECK(slot_bytes % kernels::kKvElementAlignment == 0, slot_bytes);
  void* reserved = ::mmap(nullptr, bytes_ + kHugePageBytes, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (reserved == MAP_FAILED) {
    throw protocol::Error(protocol::ErrorCode::out_of_memory,
                          fmt::format("cannot reserve {} bytes of host memory for {} blocks: {}; give a smaller budget",
                                      bytes_, slot_count, std::strerror(errno)));
  }
  const auto address = reinterpret_cast<std::uintptr_t>(reserved);
  const std::uintptr_t aligned = (address + kHugePageBytes - 1) & ~(std::uintptr_t{kHugePageBytes} - 1);
  base_ = reinterpret_cast<std::byte*>(aligned);
  if (aligned > address) ::munmap(reserved, aligned - address);
  // Only whole huge pages: the last part would make more than the budget resident. The pages behind are never touched.
  ::madvise(base_, bytes_ / kHugePageBytes * kHugePageBytes, MADV_HUGEPAGE);
  bytes_ += kHugePageBytes - (aligned - address);
}

HostArena::~HostArena() {
  ::munmap(base_, bytes_);
}

}  // namespace rotulus::memory_store
