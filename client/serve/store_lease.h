// A store's directory, held by one serve at a time and made ready for it.
//
//   <store>/run/serve.lock     locked while a serve lives, with its process id
//   <store>/run/secret         new for each serve, readable by its user alone
//   <store>/run/mpi, /dev/shm/rotulus-…   Open MPI's files; what a killed group left is removed before the next starts,
//                                         and empty directories that other killed serves of this user left
//
// Errors: Error{conflict} naming the process that holds the store; Error{unavailable} for what cannot be made.
#pragma once

#include <chrono>
#include <filesystem>

#include "client/serve/command_lines.h"

namespace rotulus::client {

class StoreLease final {
 public:
  // Waits this long for a serve that is just ending.
  explicit StoreLease(const std::filesystem::path& store, std::chrono::milliseconds wait = std::chrono::seconds(5));
  ~StoreLease();  // removes the run's files, then lets go
  StoreLease(const StoreLease&) = delete;
  StoreLease& operator=(const StoreLease&) = delete;

  const RunPaths& paths() const { return paths_; }

  // No rank of the last group lives any more: empties the directories of its session.
  void clear_session_files() const;

 private:
  void take_lock(std::chrono::milliseconds wait);
  void write_secret() const;

  RunPaths paths_;
  int lock_ = -1;
};

// ~/.local/share/rotulus, as XDG_DATA_HOME says.
std::filesystem::path default_store();

}  // namespace rotulus::client
