#include "coordinator/spool.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <random>
#include <utility>

#include "protocol/error.h"

namespace rotulus::coordinator {
namespace {

using protocol::Error;
using protocol::ErrorCode;

[[noreturn]] void throw_file_error(const char* action, const std::filesystem::path& path, std::uint64_t bytes) {
  const int error = errno;
  if (error == ENOSPC || error == EDQUOT) {
    throw Error(ErrorCode::storage_full,
                fmt::format("{} {}: the disk is full after {} bytes; free space or delete contexts", action,
                            path.string(), bytes));
  }
  throw Error(ErrorCode::internal, fmt::format("{} {}: {}", action, path.string(), std::strerror(error)));
}

const char* extension(SpoolKind kind) {
  return kind == SpoolKind::text ? ".text" : ".ids";
}

std::string random_name() {
  std::random_device device;
  return fmt::format("{:08x}{:08x}{:08x}{:08x}", device(), device(), device(), device());
}

void sync_directory(const std::filesystem::path& directory) {
  const int file = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (file < 0) throw_file_error("open", directory, 0);
  const int result = ::fsync(file);
  ::close(file);
  if (result != 0) throw_file_error("sync", directory, 0);
}

}  // namespace

SpoolWriter::SpoolWriter(const std::filesystem::path& spool_directory, SpoolKind kind)
    : path_(spool_directory / (random_name() + ".part")), kind_(kind) {
  file_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (file_ < 0) throw_file_error("create", path_, 0);
}

SpoolWriter::~SpoolWriter() {
  if (file_ < 0) return;
  ::close(file_);
  ::unlink(path_.c_str());
}

SpoolWriter::SpoolWriter(SpoolWriter&& other) noexcept
    : path_(std::move(other.path_)), kind_(other.kind_), file_(std::exchange(other.file_, -1)), bytes_(other.bytes_) {}

void SpoolWriter::append(std::string_view bytes) {
  CHECK(file_ >= 0, file_);
  while (!bytes.empty()) {
    const ssize_t written = ::write(file_, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) throw_file_error("write to", path_, bytes_);
    bytes_ += static_cast<std::uint64_t>(written);
    bytes.remove_prefix(static_cast<std::size_t>(written));
  }
}

SpooledDocument SpoolWriter::finish() {
  CHECK(file_ >= 0, file_);
  if (::fsync(file_) != 0) throw_file_error("sync", path_, bytes_);
  std::filesystem::path finished = path_;
  finished.replace_extension(extension(kind_));
  if (::rename(path_.c_str(), finished.c_str()) != 0) throw_file_error("rename", path_, bytes_);
  ::close(std::exchange(file_, -1));
  sync_directory(finished.parent_path());
  return {.path = finished, .kind = kind_, .bytes = bytes_};
}

std::string read_spooled(const SpooledDocument& document, std::uint64_t offset, std::size_t bytes) {
  std::string piece(
      static_cast<std::size_t>(std::min<std::uint64_t>(bytes, document.bytes - std::min(offset, document.bytes))),
      '\0');
  const int file = ::open(document.path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) throw_file_error("open", document.path, 0);
  std::size_t done = 0;
  while (done < piece.size()) {
    const ssize_t count = ::pread(file, piece.data() + done, piece.size() - done, static_cast<off_t>(offset + done));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) break;
    done += static_cast<std::size_t>(count);
  }
  ::close(file);
  if (done != piece.size()) {
    throw Error(ErrorCode::storage_corrupt,
                fmt::format("{} ends at byte {}, but {} bytes were received; submit the document again",
                            document.path.string(), offset + done, document.bytes));
  }
  return piece;
}

std::size_t clean_spool(const std::filesystem::path& spool_directory,
                        const std::vector<std::filesystem::path>& needed) {
  std::error_code error;
  std::filesystem::create_directories(spool_directory, error);
  if (error) {
    throw Error(ErrorCode::internal,
                fmt::format("create the directory {}: {}", spool_directory.string(), error.message()));
  }
  std::vector<std::filesystem::path> orphans;
  for (const auto& entry : std::filesystem::directory_iterator(spool_directory)) {
    const auto is_same_file = [&](const auto& path) { return path.filename() == entry.path().filename(); };
    if (entry.is_regular_file() && std::none_of(needed.begin(), needed.end(), is_same_file)) {
      orphans.push_back(entry.path());
    }
  }
  for (const auto& orphan : orphans) std::filesystem::remove(orphan, error);
  return orphans.size();
}

}  // namespace rotulus::coordinator
