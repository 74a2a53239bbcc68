#include "tests/support/allocation_meter.h"

#include <malloc.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <new>

namespace {

// What other threads free of ours (or we of theirs) makes the balance drift; a test that meters does not share.
thread_local std::int64_t held_bytes = 0;
thread_local std::int64_t peak_held_bytes = 0;
thread_local std::int64_t start_bytes = 0;

}  // namespace

void* operator new(std::size_t size) {
  void* memory = std::malloc(size);
  if (memory == nullptr) throw std::bad_alloc();
  held_bytes += static_cast<std::int64_t>(malloc_usable_size(memory));
  peak_held_bytes = std::max(peak_held_bytes, held_bytes);
  return memory;
}

// std::stable_sort asks for its buffer by this one, and gives it back by the delete below.
void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  try {
    return operator new(size);
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}

void operator delete(void* memory) noexcept {
  if (memory != nullptr) held_bytes -= static_cast<std::int64_t>(malloc_usable_size(memory));
  std::free(memory);
}

void operator delete(void* memory, std::size_t) noexcept {
  operator delete(memory);
}

namespace rotulus::testing {

AllocationMeter::AllocationMeter() {
  start_bytes = peak_held_bytes = held_bytes;
}

std::size_t AllocationMeter::peak_bytes() const {
  return static_cast<std::size_t>(peak_held_bytes - start_bytes);
}

}  // namespace rotulus::testing
