#include "worker/options.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <map>

namespace rotulus::worker {
namespace {

std::string check_endpoint(const std::string& text) {
  const std::size_t colon = text.rfind(':');
  if (colon == std::string::npos || colon == 0) return "expected HOST:PORT, got \"" + text + "\"";
  const std::string port = text.substr(colon + 1);
  const bool is_number = !port.empty() && port.size() <= 5 && port.find_first_not_of("0123456789") == std::string::npos;
  if (!is_number || std::stoul(port) == 0 || std::stoul(port) > 65535)
    return "port of \"" + text + "\" is not 1..65535";
  return {};
}

// A flag that takes one of a few names. (CLI11 cannot print enumerations that have a to_string of their own.)
template <typename T>
void add_choice(CLI::App& app, const std::string& flag, const std::string& environment, T& value,
                const std::map<std::string, T>& choices, const std::string& help) {
  app.add_option_function<std::string>(
         flag, [&value, choices](const std::string& name) { value = choices.at(name); }, help)
      ->envname(environment)
      ->check(CLI::IsMember(choices));
}

}  // namespace

std::optional<Options> parse_options(int argc, char** argv, int& exit_code) {
  Options options;
  CLI::App app{
      "One rank of a Rotulus worker group: model, attention, memory store.\n"
      "Started by `rotulus serve`, or by hand:\n"
      "  mpirun -n 2 --bind-to none rotulus-worker --coordinator 127.0.0.1:7400 -m model.gguf --store /data/rotulus"};
  std::string endpoint = "127.0.0.1:7400";
  app.add_option("--coordinator", endpoint, "Control port of the coordinator, HOST:PORT")
      ->envname("ROTULUS_COORDINATOR")
      ->check(check_endpoint)
      ->capture_default_str();
  app.add_option("--secret-file", options.secret_file, "File with the secret shared with the coordinator")
      ->envname("ROTULUS_SECRET_FILE")
      ->check(CLI::ExistingFile);
  app.add_option("-m,--model", options.model, "GGUF file")
      ->envname("ROTULUS_MODEL")
      ->required()
      ->check(CLI::ExistingFile);
  app.add_option("--store", options.store, "Folder of this host's volumes; made where it does not exist")
      ->envname("ROTULUS_STORE")
      ->required();
  app.add_option("-t,--threads", options.threads, "Threads of this rank; 0: cores of the host / its ranks")
      ->envname("ROTULUS_THREADS")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  add_choice<kernels::KvType>(app, "--kv-type", "ROTULUS_KV_TYPE", options.kv_type,
                              {{"f16", kernels::KvType::f16},
                               {"f32", kernels::KvType::f32},
                               {"bf16", kernels::KvType::bf16},
                               {"int8", kernels::KvType::int8},
                               {"int4", kernels::KvType::int4}},
                              "How keys and values are stored (default f16)");
  add_choice<kernels::Isa>(app, "--isa", "ROTULUS_ISA", options.isa,
                           {{"auto", kernels::Isa::automatic},
                            {"scalar", kernels::Isa::scalar},
                            {"avx2", kernels::Isa::avx2},
                            {"avx512", kernels::Isa::avx512}},
                           "Instruction-set row of the kernels (default auto)");
  add_choice<std::optional<kernels::Arithmetic>>(
      app, "--arithmetic", "ROTULUS_ARITHMETIC", options.arithmetic,
      {{"auto", std::nullopt},
       {"f32", kernels::Arithmetic::f32},
       {"bf16", kernels::Arithmetic::bf16},
       {"int8", kernels::Arithmetic::int8}},
      "Dense products: f32, bf16 or int8 (faster, rounded), or auto, by the measured rates (default f32)");
  options.host_bytes = std::uint64_t{4} << 30;
  app.add_option("--tier-ram-size", options.host_bytes, "Host memory for KV and landmarks, per rank (e.g. 512M, 4G)")
      ->envname("ROTULUS_TIER_RAM_SIZE")
      ->transform(CLI::AsSizeValue(false));
  const CLI::Option* landmarks =
      app.add_option("--landmark-ram-size", options.landmark_bytes, "Of it for landmarks; default a quarter")
          ->envname("ROTULUS_LANDMARK_RAM_SIZE")
          ->transform(CLI::AsSizeValue(false));
  add_choice<memory_store::Eviction>(
      app, "--eviction", "ROTULUS_EVICTION", options.eviction,
      {{"lru", memory_store::Eviction::lru}, {"frequent", memory_store::Eviction::frequent}},
      "Which blocks stay in host memory (default frequent)");
  app.add_option("--access-trace", options.access_trace,
                 "Write here which blocks are asked for, one file a rank, for rotulus-bench-eviction")
      ->envname("ROTULUS_ACCESS_TRACE");
  app.add_option("--tier-disk-size", options.disk_bytes, "Bytes of each volume; 0: as much as the disk has")
      ->envname("ROTULUS_TIER_DISK_SIZE")
      ->transform(CLI::AsSizeValue(false));
  app.add_option("-c,--context-length", options.context_length,
                 "Positions that exact attention may span; 0: what the model was trained for")
      ->envname("ROTULUS_CONTEXT_LENGTH")
      ->check(CLI::Range(512, 1 << 24) | CLI::IsMember({0}));
  app.add_option("--step-tokens", options.step_tokens, "Rows of a document in one step; 0: by the measured rate")
      ->envname("ROTULUS_STEP_TOKENS")
      ->check(CLI::Range(0, 65536));
  app.add_option(
         "--chat-template", options.chat_template,
         "Chat template to use instead of the file's: chatml, gemma, llama3 … (an unknown name is answered by all)")
      ->envname("ROTULUS_CHAT_TEMPLATE");
  add_choice<Strategy>(app, "--strategy", "ROTULUS_STRATEGY", options.strategy,
                       {{"auto", Strategy::automatic}, {"ring", Strategy::ring}, {"gathered", Strategy::gathered}},
                       "How queries and keys meet; the bits are the same (default auto)");
  app.add_flag("--die-with-parent", options.die_with_parent, "End when the process that started this one ends");
  try {
    app.parse(argc, argv);
    if (landmarks->empty()) options.landmark_bytes = options.host_bytes / 4;
    if (options.landmark_bytes >= options.host_bytes) {
      throw CLI::ValidationError("--landmark-ram-size", fmt::format("{} bytes leave nothing of --tier-ram-size {}",
                                                                    options.landmark_bytes, options.host_bytes));
    }
  } catch (const CLI::ParseError& error) {
    exit_code = app.exit(error) == 0 ? 0 : 2;
    return std::nullopt;
  }
  const std::size_t colon = endpoint.rfind(':');
  options.coordinator_host = endpoint.substr(0, colon);
  options.coordinator_port = static_cast<std::uint16_t>(std::stoul(endpoint.substr(colon + 1)));
  return options;
}

}  // namespace rotulus::worker
