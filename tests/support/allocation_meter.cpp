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

void* allocate(std::size_t size) noexcept {
  void* memory = std::malloc(size);
  if (memory == nullptr) return nullptr;
  held_bytes += static_cast<std::int64_t>(malloc_usable_size(memory));
  peak_held_bytes = std::max(peak_held_bytes, held_bytes);
  return memory;
}

void* allocate_or_throw(std::size_t size) {
  void* memory = allocate(size);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

void release(void* memory) noexcept {
  if (memory != nullptr) held_bytes -= static_cast<std::int64_t>(malloc_usable_size(memory));
  std::free(memory);
}

}  // namespace

// All forms but those with an alignment: under AddressSanitizer each form that is not replaced is the sanitizer's own,
// and what one of a pair allocates the other must free.
void* operator new(std::size_t size) {
  return allocate_or_throw(size);
}
void* operator new[](std::size_t size) {
  return allocate_or_throw(size);
}
void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  return allocate(size);
}
void* operator new[](std::size_t size, const std::nothrow_t&) noexcept {
  return allocate(size);
}
void operator delete(void* memory) noexcept {
  release(memory);
}
void operator delete[](void* memory) noexcept {
  release(memory);
}
void operator delete(void* memory, std::size_t) noexcept {
  release(memory);
}
void operator delete[](void* memory, std::size_t) noexcept {
  release(memory);
}
void operator delete(void* memory, const std::nothrow_t&) noexcept {
  release(memory);
}
void operator delete[](void* memory, const std::nothrow_t&) noexcept {
  release(memory);
}

namespace rotulus::testing {

AllocationMeter::AllocationMeter() {
  start_bytes = peak_held_bytes = held_bytes;
}

std::size_t AllocationMeter::peak_bytes() const {
  return static_cast<std::size_t>(peak_held_bytes - start_bytes);
}

}  // namespace rotulus::testing
