#include "memory_store/tiers/rocksdb/volume_lock.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <string>
#include <thread>

#include "protocol/error.h"

namespace rotulus::memory_store {
namespace {

using protocol::Error;
using protocol::ErrorCode;

constexpr auto kLockPollInterval = std::chrono::milliseconds(50);

std::string name_of_process(const std::string& pid) {
  std::string name;
  std::getline(std::ifstream("/proc/" + pid + "/comm"), name);
  return name.empty() ? "of another machine or container" : name;
}

}  // namespace

// Locks of the open file description, not of the process: two stores in one process exclude each other too, and closing
// another handle to the file does not drop the lock.
VolumeLock::VolumeLock(const std::filesystem::path& directory, std::chrono::milliseconds timeout) {
  const std::filesystem::path path = directory / "LOCK";
  file_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (file_ < 0) {
    throw Error(ErrorCode::unavailable, fmt::format("{} cannot be opened: {}", path.string(), std::strerror(errno)));
  }
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  struct flock lock = {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  while (::fcntl(file_, F_OFD_SETLK, &lock) != 0) {
    if (std::chrono::steady_clock::now() < deadline) {
      std::this_thread::sleep_for(kLockPollInterval);
      continue;
    }
    ::close(file_);
    std::string pid;
    std::getline(std::ifstream(path), pid);
    throw Error(ErrorCode::unavailable,
                fmt::format("{} is held by process {} ({}), which did not let go in {} ms; end it and start again",
                            directory.string(), pid, name_of_process(pid), timeout.count()));
  }
  const std::string pid = std::to_string(::getpid());
  // Only a name for people: where it cannot be written (a full disk), the lock holds all the same.
  if (::ftruncate(file_, 0) != 0 || ::pwrite(file_, pid.data(), pid.size(), 0) < 0) return;
}

VolumeLock::~VolumeLock() {
  ::close(file_);
}

}  // namespace rotulus::memory_store
