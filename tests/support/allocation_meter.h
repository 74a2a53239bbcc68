// How much memory operator new hands out on this thread: the most that was held at once since start().
// Linked into a test program, allocation_meter.cpp replaces operator new and delete there.
#pragma once

#include <cstddef>

namespace rotulus::testing {

class AllocationMeter {
 public:
  AllocationMeter();  // from here on
  std::size_t peak_bytes() const;
};

}  // namespace rotulus::testing
