#include "memory_store/tiers/rocksdb/durable_files.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "protocol/error.h"

namespace rotulus::memory_store {
namespace {

using protocol::Error;
using protocol::ErrorCode;

[[noreturn]] void throw_errno(const std::filesystem::path& path, int error) {
  throw Error(error == ENOSPC || error == EDQUOT ? ErrorCode::storage_full : ErrorCode::unavailable,
              fmt::format("{} cannot be written: {}", path.string(), std::strerror(error)));
}

void write_synced(const std::filesystem::path& path, std::string_view content) {
  const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (file < 0) throw_errno(path, errno);
  errno = ENOSPC;  // what a short write means
  const bool is_written = ::write(file, content.data(), content.size()) == static_cast<ssize_t>(content.size());
  const int error = is_written && ::fsync(file) == 0 ? 0 : errno;
  ::close(file);
  if (error != 0) throw_errno(path, error);
}

void sync(const std::filesystem::path& path, int flags) {
  const int handle = ::open(path.c_str(), flags | O_CLOEXEC);
  if (handle < 0) throw_errno(path, errno);
  const int error = ::fsync(handle) == 0 ? 0 : errno;
  ::close(handle);
  if (error != 0) throw_errno(path, error);
}

}  // namespace

void sync_file(const std::filesystem::path& path) {
  sync(path, O_RDWR);
}

void sync_directory(const std::filesystem::path& directory) {
  sync(directory, O_RDONLY | O_DIRECTORY);
}

void replace_file(const std::filesystem::path& path, std::string_view content) {
  const std::filesystem::path fresh = path.string() + ".new";
  write_synced(fresh, content);
  if (std::rename(fresh.c_str(), path.c_str()) != 0) throw_errno(path, errno);
  sync_directory(path.parent_path());
}

}  // namespace rotulus::memory_store
