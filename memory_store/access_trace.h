// Which KV blocks are asked for, in which order: written by a store that is told to, and replayed by
// rotulus-bench-eviction under each policy. Text: a line "object layer block" for each, an empty line behind those that
// are pinned together.
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <span>
#include <vector>

#include "memory_store/kv_block.h"

namespace rotulus::memory_store {

// Threads: one.
class AccessTrace final {
 public:
  // Throws Error{unavailable} if the file cannot be made.
  explicit AccessTrace(const std::filesystem::path& path);
  void write(std::span<const BlockAddress> pinned_together);

 private:
  std::ofstream file_;
};

// Throws Error{invalid_argument} naming the line that is none of a trace. Volumes are not in it.
std::vector<std::vector<BlockAddress>> read_access_trace(const std::filesystem::path& path);

}  // namespace rotulus::memory_store
