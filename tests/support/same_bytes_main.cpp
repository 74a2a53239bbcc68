// rotulus-same-bytes: one run of the promise that bits do not depend on how it is run; prints hash and name.
// scripts/same_bytes.sh runs the full product of the factors with it.
#include <CLI/CLI.hpp>
#include <filesystem>
#include <iostream>

#include "tests/support/same_bytes.h"

int main(int argc, char** argv) {
  rotulus::testing::SameBytesRun run;
  std::string model;
  std::string store = std::filesystem::temp_directory_path().string();
  CLI::App app{"Hash of the logits of every step of an answer"};
  app.add_option("-m,--model", model, "GGUF file")->required()->check(CLI::ExistingFile);
  app.add_option("--store", store, "Folder for the volumes of the run, removed afterwards");
  app.add_option("--prompt", run.prompt_tokens, "Tokens of the prompt");
  app.add_option("--ranks", run.ranks, "Ranks of the worker group");
  app.add_option("-t,--threads", run.threads, "Threads of a rank");
  app.add_option("--batch", run.batch, "Requests at once");
  app.add_flag("--quarter", run.small_budget, "Host memory for a quarter of the KV");
  app.add_option("--step", run.step_tokens, "Rows of prefill in a step; 0: by the measured rate");
  app.add_flag("--restart", run.restart, "Answer in a second life of the group");
  app.add_option("--restart-ranks", run.restart_ranks, "Ranks of the second life; 0: the same");
  app.add_option("--generate", run.generated_tokens, "Tokens of the answer");
  CLI11_PARSE(app, argc, argv);
  try {
    const auto result = rotulus::testing::run_same_bytes(run, model, store);
    std::printf("%016llx tokens=%zu recomputed=%llu loaded=%llu %s\n",
                static_cast<unsigned long long>(result.logits_hash), result.tokens.size(),
                static_cast<unsigned long long>(result.tokens_recomputed),
                static_cast<unsigned long long>(result.blocks_loaded), run.name().c_str());
    return 0;
  } catch (const std::exception& error) {
    std::cerr << "rotulus-same-bytes: " << run.name() << ": " << error.what() << "\n";
    return 1;
  }
}
