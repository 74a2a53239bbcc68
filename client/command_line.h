// The command line: what can be said, and what was said.
//
// A setting is taken from, in this order: its flag, its environment variable (ROTULUS_ and the flag's name), the TOML
// file (--config, ROTULUS_CONFIG, else ~/.config/rotulus.toml where there is one), its default.
#pragma once

#include <string>
#include <variant>
#include <vector>

#include "client/options.h"

namespace rotulus::client {

struct PsOptions {};
struct ShowOptions : ContextsOptions {};
struct CancelOptions : ContextsOptions {};
struct PinOptions : ContextsOptions {};
struct VerifyOptions : ContextsOptions {};
struct RemoveOptions : ContextsOptions {};
struct VersionOptions {};

// A text to print in place of running anything: help, a usage error, --print-config.
struct Notice {
  std::string text;
  int exit_code = 0;  // 0: to standard output; 2: a usage error, to standard error
};

struct CommandLine {
  GlobalOptions global;
  std::variant<Notice, ServeOptions, SubmitOptions, EstimateOptions, AskOptions, SearchOptions, AppendOptions,
               ForkOptions, PsOptions, ShowOptions, CancelOptions, PinOptions, VerifyOptions, ExportOptions,
               ImportOptions, BenchOptions, RemoveOptions, VersionOptions>
      verb;
};

// `arguments` without the program's name. Throws Error for a configuration file that cannot be used.
CommandLine parse_command_line(const std::vector<std::string>& arguments);

// The verbs that this program carries out itself; any other VERB is the program rotulus-VERB beside it.
std::vector<std::string> own_verbs();

}  // namespace rotulus::client
