#include "client/serve/command_lines.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>

namespace rotulus::client {
namespace {

// Names of one store's things outside it; the same for the same store, so that the next serve finds what a killed one
// left (FNV-1a of the path).
std::string store_tag(const std::filesystem::path& store) {
  std::uint64_t hash = 0xcbf29ce484222325;
  for (unsigned char byte : store.string()) hash = (hash ^ byte) * 0x100000001b3;
  return fmt::format("{:016x}", hash);
}

}  // namespace

RunPaths run_paths(const std::filesystem::path& store) {
  std::filesystem::path directory = store / "run";
  return {.directory = directory,
          .secret_file = directory / "secret",
          .control_port_file = directory / "control_port",
          .mpi_directory = directory / "mpi",
          .shared_memory = fmt::format("/dev/shm/rotulus-{}-{}", ::geteuid(), store_tag(store))};
}

Arguments coordinator_arguments(const ServeOptions& options, const RunPaths& paths) {
  Arguments arguments{options.program_directory / "rotulus-coordinator",
                      "--host",
                      options.host,
                      "--port",
                      std::to_string(options.port),
                      "--store",
                      options.store,
                      "--control-port",
                      "0",
                      "--control-port-file",
                      paths.control_port_file,
                      "--secret-file",
                      paths.secret_file,
                      "--die-with-parent"};
  if (!options.alias.empty()) arguments.insert(arguments.end(), {"--alias", options.alias});
  if (options.must_rebuild_catalogue) arguments.push_back("--rebuild-catalogue");
  return arguments;
}

Arguments worker_group_arguments(const ServeOptions& options, const RunPaths& paths, const Machine& machine,
                                 std::uint16_t control_port) {
  std::uint32_t threads = threads_of_rank(options, machine);
  Arguments arguments{options.mpirun, "-n", std::to_string(options.ranks)};
  auto add = [&arguments](std::initializer_list<std::string> more) {
    arguments.insert(arguments.end(), more.begin(), more.end());
  };
  if (machine.is_root) add({"--allow-run-as-root"});
  // For two ranks or fewer mpirun would bind each to a single core.
  add({"--bind-to", "none", "--oversubscribe"});
  if (options.ranks * threads > machine.cores) add({"--mca", "mpi_yield_when_idle", "1"});
  // One host: no remote start (so no ssh is looked for), no network between ranks, files where the next start of this
  // store finds and removes them.
  add({"--mca", "plm", "isolated"});
  add({"--mca", "btl", "self,vader", "--mca", "btl_vader_backing_directory", paths.shared_memory});
  add({"--mca", "orte_tmpdir_base", paths.mpi_directory});
  add({options.program_directory / "rotulus-worker"});
  add({"--coordinator", fmt::format("127.0.0.1:{}", control_port), "--secret-file", paths.secret_file});
  add({"-m", options.model, "--store", options.store, "--threads", std::to_string(threads)});
  add({"--kv-type", options.kv_type, "--isa", options.isa, "--arithmetic", options.arithmetic});
  add({"--tier-ram-size", options.tier_ram_size, "--eviction", options.eviction});
  add({"--strategy", options.strategy});
  if (!options.landmark_ram_size.empty()) add({"--landmark-ram-size", options.landmark_ram_size});
  if (!options.tier_disk_size.empty()) add({"--tier-disk-size", options.tier_disk_size});
  if (options.context_length) add({"--context-length", std::to_string(options.context_length)});
  if (options.step_tokens) add({"--step-tokens", std::to_string(options.step_tokens)});
  if (!options.chat_template.empty()) add({"--chat-template", options.chat_template});
  add({"--die-with-parent"});
  return arguments;
}

std::uint32_t threads_of_rank(const ServeOptions& options, const Machine& machine) {
  return options.threads ? options.threads : std::max(1u, machine.cores / options.ranks);
}

bool is_loopback(const std::string& host) {
  in_addr address{};
  if (::inet_pton(AF_INET, host.c_str(), &address) == 1) return (ntohl(address.s_addr) >> 24) == 127;
  return host == "localhost" || host == "::1" || host == "[::1]";
}

}  // namespace rotulus::client
