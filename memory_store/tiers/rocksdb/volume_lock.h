// One process at a time has a volume. The file LOCK is locked by the system, so a dead holder holds nothing, and says
// who the holder is.
#pragma once

#include <chrono>
#include <filesystem>

namespace rotulus::memory_store {

class VolumeLock final {
 public:
  // Throws Error{unavailable} that names the holder if it does not let go within `timeout`.
  VolumeLock(const std::filesystem::path& directory, std::chrono::milliseconds timeout);
  ~VolumeLock();
  VolumeLock(const VolumeLock&) = delete;
  VolumeLock& operator=(const VolumeLock&) = delete;

 private:
  int file_ = -1;
};

}  // namespace rotulus::memory_store
