// The worker's command line: flags as users of llama.cpp and vLLM know them, each with an environment twin.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "kernels/backend.h"
#include "memory_store/eviction.h"
#include "worker/parallel/step_attention.h"

namespace rotulus::worker {

struct Options {
  std::string coordinator_host;
  std::uint16_t coordinator_port = 0;
  std::filesystem::path secret_file;
  std::filesystem::path model;
  std::filesystem::path store;
  std::size_t threads = 0;  // 0: the cores of this host divided by its ranks
  kernels::KvType kv_type = kernels::KvType::f16;
  kernels::Isa isa = kernels::Isa::automatic;
  std::optional<kernels::Arithmetic> arithmetic =
      kernels::Arithmetic::f32;      // nullopt: by the rates of rank 0's machine
  std::uint64_t host_bytes = 0;      // --tier-ram-size, per rank: for KV and landmarks
  std::uint64_t landmark_bytes = 0;  // --landmark-ram-size, of these for landmarks; less than host_bytes
  memory_store::Eviction eviction = memory_store::Eviction::frequent;
  std::filesystem::path access_trace;  // "": none
  std::uint64_t disk_bytes = 0;        // --tier-disk-size, per volume; 0: as much as the disk has
  std::uint32_t context_length = 0;    // --context-length: of the window; 0: what the model was trained for
  std::uint32_t step_tokens = 0;
  std::string chat_template;
  Strategy strategy = Strategy::automatic;
  bool die_with_parent = false;
};

// nullopt with the exit code set: --help was printed, or the usage was wrong (2).
std::optional<Options> parse_options(int argc, char** argv, int& exit_code);

}  // namespace rotulus::worker
