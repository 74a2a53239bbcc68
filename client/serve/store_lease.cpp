#include "client/serve/store_lease.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <thread>

#include "protocol/error.h"

namespace rotulus::client {
namespace {

namespace fs = std::filesystem;
using protocol::Error;
using protocol::ErrorCode;

constexpr std::size_t kSecretBytes = 32;
constexpr auto kForgottenAfter = std::chrono::minutes(1);

Error errno_error(std::string_view what, const fs::path& path) {
  return {ErrorCode::unavailable, fmt::format("{} {}: {}", what, path.string(), std::strerror(errno))};
}

// A directory that is there already keeps the permissions that its owner gave it.
void make_private_directory(const fs::path& path) {
  std::error_code failure;
  if (path.has_parent_path()) fs::create_directories(path.parent_path(), failure);
  if (::mkdir(path.c_str(), 0700) != 0 && !(errno == EEXIST && fs::is_directory(path, failure)))
    throw errno_error("making", path);
}

void remove_tree(const fs::path& path) {
  std::error_code failure;
  fs::remove_all(path, failure);
  if (failure) throw Error(ErrorCode::unavailable, fmt::format("removing {}: {}", path.string(), failure.message()));
}

// A serve that was killed leaves its directory of shared memory, and empty once its ranks are gone; where its store is
// never served again, nobody else would remove it. A living serve that has not filled its own yet has only just made
// it.
void remove_forgotten_beside(const fs::path& shared_memory) {
  const std::string name = shared_memory.filename().string();
  const std::string prefix = name.substr(0, name.rfind('-') + 1);
  std::error_code ignored;
  for (const fs::directory_entry& entry : fs::directory_iterator(shared_memory.parent_path(), ignored)) {
    if (!entry.path().filename().string().starts_with(prefix)) continue;
    const auto changed = fs::last_write_time(entry.path(), ignored);
    if (ignored || fs::file_time_type::clock::now() - changed < kForgottenAfter) continue;
    ::rmdir(entry.path().c_str());  // fails where it is not empty
  }
}

std::string read_small_file(int file) {
  std::array<char, 64> text{};
  ssize_t count = ::pread(file, text.data(), text.size(), 0);
  return {text.data(), static_cast<std::size_t>(std::max<ssize_t>(0, count))};
}

}  // namespace

StoreLease::StoreLease(const fs::path& store, std::chrono::milliseconds wait) : paths_(run_paths(store)) {
  make_private_directory(store);
  make_private_directory(paths_.directory);
  take_lock(wait);
  write_secret();
  remove_forgotten_beside(paths_.shared_memory);
}

StoreLease::~StoreLease() {
  std::error_code ignored;  // leftovers are removed by the next start
  for (const fs::path& path :
       {paths_.mpi_directory, paths_.shared_memory, paths_.secret_file, paths_.control_port_file})
    fs::remove_all(path, ignored);
  ::close(lock_);
}

void StoreLease::take_lock(std::chrono::milliseconds wait) {
  fs::path path = paths_.directory / "serve.lock";
  lock_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (lock_ < 0) throw errno_error("opening", path);
  auto deadline = std::chrono::steady_clock::now() + wait;
  while (::flock(lock_, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK && errno != EINTR) throw errno_error("locking", path);
    if (std::chrono::steady_clock::now() >= deadline) {
      std::string holder = read_small_file(lock_);
      ::close(lock_);
      throw Error(ErrorCode::conflict,
                  fmt::format("the store {} is in use by `rotulus serve` with process id {}; stop that one, or give "
                              "another --store",
                              paths_.directory.parent_path().string(), holder.empty() ? "?" : holder),
                  "store");
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  std::string pid = std::to_string(::getpid());
  if (::ftruncate(lock_, 0) != 0 || ::pwrite(lock_, pid.data(), pid.size(), 0) < 0) throw errno_error("writing", path);
}

void StoreLease::write_secret() const {
  std::array<unsigned char, kSecretBytes> random{};
  if (::getrandom(random.data(), random.size(), 0) != static_cast<ssize_t>(random.size()))
    throw errno_error("drawing the secret for", paths_.secret_file);
  std::string text;
  for (unsigned char byte : random) text += fmt::format("{:02x}", byte);
  text += "\n";
  ::unlink(paths_.secret_file.c_str());
  int file = ::open(paths_.secret_file.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (file < 0) throw errno_error("making", paths_.secret_file);
  ssize_t written = ::write(file, text.data(), text.size());
  ::close(file);
  if (written != static_cast<ssize_t>(text.size())) throw errno_error("writing", paths_.secret_file);
}

void StoreLease::clear_session_files() const {
  for (const fs::path& path : {paths_.mpi_directory, paths_.shared_memory}) {
    remove_tree(path);
    make_private_directory(path);
  }
}

fs::path default_store() {
  const char* data = std::getenv("XDG_DATA_HOME");
  if (data && *data) return fs::path(data) / "rotulus";
  const char* home = std::getenv("HOME");
  return fs::path(home ? home : "/") / ".local" / "share" / "rotulus";
}

}  // namespace rotulus::client
