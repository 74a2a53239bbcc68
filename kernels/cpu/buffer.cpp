#include "kernels/cpu/buffer.h"

#include <sys/mman.h>

#include <limits>
#include <new>

namespace rotulus::kernels::cpu {
namespace {

constexpr std::size_t kHugePage = std::size_t{2} << 20;

}  // namespace

HostBuffer::HostBuffer(std::size_t bytes) : bytes_(bytes) {
  if (bytes > std::numeric_limits<std::size_t>::max() / 2) throw std::bad_alloc();
  const bool huge = bytes >= kHugePage;
  mapping_bytes_ = bytes + (huge ? kHugePage : 1);  // room to align; never empty
  mapping_ = mmap(nullptr, mapping_bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapping_ == MAP_FAILED) throw std::bad_alloc();
  auto address = reinterpret_cast<std::uintptr_t>(mapping_);
  if (huge) {
    address = (address + kHugePage - 1) / kHugePage * kHugePage;
    madvise(reinterpret_cast<void*>(address), bytes, MADV_HUGEPAGE);  // a wish: small pages are only slower
  }
  data_ = reinterpret_cast<std::byte*>(address);
}

HostBuffer::~HostBuffer() {
  munmap(mapping_, mapping_bytes_);
}

}  // namespace rotulus::kernels::cpu
