// What `rotulus serve` starts, as argument vectors. Pure functions of the options and the paths.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "client/options.h"

namespace rotulus::client {

// Where one serve keeps what lives no longer than itself.
struct RunPaths {
  std::filesystem::path directory;          // <store>/run
  std::filesystem::path secret_file;        // what coordinator and workers prove to each other
  std::filesystem::path control_port_file;  // the coordinator writes the port that it found
  std::filesystem::path mpi_directory;      // Open MPI's session files
  std::filesystem::path shared_memory;      // a directory under /dev/shm, for the shared memory of ranks
};
RunPaths run_paths(const std::filesystem::path& store);

using Arguments = std::vector<std::string>;

Arguments coordinator_arguments(const ServeOptions& options, const RunPaths& paths);

// The machine that the ranks share.
struct Machine {
  std::uint32_t cores = 1;
  bool is_root = false;
};
Arguments worker_group_arguments(const ServeOptions& options, const RunPaths& paths, const Machine& machine,
                                 std::uint16_t control_port);

// Threads of each rank.
std::uint32_t threads_of_rank(const ServeOptions& options, const Machine& machine);

// 127.x.x.x, ::1, localhost
bool is_loopback(const std::string& host);

}  // namespace rotulus::client
