#include "client/serve/serve.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <thread>

#include "client/serve/supervisor.h"
#include "protocol/error.h"

namespace rotulus::client {
namespace {

namespace fs = std::filesystem;
using protocol::Error;
using protocol::ErrorCode;

// What no start could get over is said now, not five restarts later.
void judge(const ServeOptions& options, const std::string& api_key) {
  if (options.model.empty())
    throw Error(ErrorCode::invalid_argument,
                "serve needs a model: -m FILE.gguf (scripts/setup.sh puts a small one in "
                "models/)",
                "model");
  if (!is_loopback(options.host) && api_key.empty())
    throw Error(ErrorCode::invalid_argument,
                fmt::format("--host {} can be reached from other machines: give an --api-key (or ROTULUS_API_KEY)",
                            options.host),
                "host");
  if (::access(options.model.c_str(), R_OK) != 0)
    throw Error(ErrorCode::not_found, fmt::format("cannot read the model {}: {}", options.model, std::strerror(errno)),
                "model");
  std::string magic(4, '\0');
  std::ifstream(options.model, std::ios::binary).read(magic.data(), 4);
  if (magic != "GGUF")
    throw Error(ErrorCode::invalid_argument,
                fmt::format("the model {} is not a GGUF file: it does not begin with \"GGUF\"", options.model),
                "model");
  for (const char* program : {"rotulus-coordinator", "rotulus-worker"})
    if (::access((options.program_directory / program).c_str(), X_OK) != 0)
      throw Error(ErrorCode::not_found, fmt::format("no program {} in {}; scripts/build.sh makes it", program,
                                                    options.program_directory.string()));
}

}  // namespace

int serve(ServeOptions options, const GlobalOptions& global) {
  if (options.store.empty()) options.store = default_store();
  options.store = fs::absolute(options.store).lexically_normal();
  if (options.program_directory.empty()) options.program_directory = fs::read_symlink("/proc/self/exe").parent_path();
  judge(options, global.api_key);
  StoreLease store(options.store);
  Machine machine{.cores = std::max(1u, std::thread::hardware_concurrency()), .is_root = ::geteuid() == 0};
  return supervise(options, global.api_key, machine, store);
}

}  // namespace rotulus::client
