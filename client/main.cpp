// rotulus: the command line. Exit codes: 0, 1 for what went wrong, 2 for what was asked wrongly.
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "client/command_line.h"
#include "client/commands/commands.h"
#include "client/config_file.h"
#include "client/serve/serve.h"
#include "protocol/error.h"

namespace rotulus::client {
namespace {

template <typename... Cases>
struct Overloaded : Cases... {
  using Cases::operator()...;
};
template <typename... Cases>
Overloaded(Cases...) -> Overloaded<Cases...>;

// `rotulus VERB …` for a verb of another program: becomes rotulus-VERB, as git does. Returns where VERB is one of
// ours, or no verb at all.
void become_sibling(const std::vector<std::string>& arguments) {
  if (arguments.empty() || arguments[0].starts_with('-')) return;
  const std::string& verb = arguments[0];
  std::vector<std::string> own = own_verbs();
  if (std::find(own.begin(), own.end(), verb) != own.end()) return;
  std::string program = std::filesystem::read_symlink("/proc/self/exe").parent_path() / ("rotulus-" + verb);
  std::vector<char*> pointers{program.data()};
  for (std::size_t i = 1; i < arguments.size(); ++i) pointers.push_back(const_cast<char*>(arguments[i].c_str()));
  pointers.push_back(nullptr);
  if (verb.find('/') == std::string::npos) ::execv(program.c_str(), pointers.data());
  std::string nearest = nearest_name(verb, own);
  throw protocol::Error(protocol::ErrorCode::invalid_argument,
                        fmt::format("no verb \"{}\", and no program {}{}", verb, program,
                                    nearest.empty() ? "; try rotulus --help" : "; did you mean " + nearest + "?"));
}

int print_notice(const Notice& notice) {
  std::FILE* to = notice.exit_code == 0 ? stdout : stderr;
  std::fwrite(notice.text.data(), 1, notice.text.size(), to);
  return notice.exit_code;
}

int run(const CommandLine& command_line) {
  const GlobalOptions& global = command_line.global;
  auto with_session = [&global](auto verb, const auto&... options) {
    Session session = open_session(global);
    return verb(session, options...);
  };
  return std::visit(Overloaded{
                        [](const Notice& notice) { return print_notice(notice); },
                        [&](const ServeOptions& options) { return serve(options, global); },
                        [&](const SubmitOptions& options) { return with_session(submit, options); },
                        [&](const EstimateOptions& options) { return with_session(estimate, options); },
                        [&](const AskOptions& options) { return with_session(ask, options); },
                        [&](const SearchOptions& options) { return with_session(search, options); },
                        [&](const AppendOptions& options) { return with_session(append, options); },
                        [&](const ForkOptions& options) { return with_session(fork, options); },
                        [&](const PsOptions&) { return with_session(list_contexts); },
                        [&](const ShowOptions& options) { return with_session(show_contexts, options); },
                        [&](const CancelOptions& options) { return with_session(cancel_contexts, options); },
                        [&](const PinOptions& options) { return with_session(pin_contexts, options); },
                        [&](const VerifyOptions& options) { return with_session(verify_contexts, options); },
                        [&](const ExportOptions& options) { return with_session(export_context, options); },
                        [&](const ImportOptions& options) { return with_session(import_context, options); },
                        [&](const BenchOptions& options) { return with_session(bench, options); },
                        [&](const RemoveOptions& options) { return with_session(remove_contexts, options); },
                        [&](const VersionOptions&) { return with_session(print_version); },
                    },
                    command_line.verb);
}

int fail(const std::exception& failure, int exit_code) {
  std::fputs(fmt::format("rotulus: {}\n", failure.what()).c_str(), stderr);  // where it is closed, print would throw
  return exit_code;
}

}  // namespace
}  // namespace rotulus::client

int main(int argument_count, char** argument_values) {
  using namespace rotulus::client;
  std::vector<std::string> arguments(argument_values + 1, argument_values + argument_count);
  CommandLine command_line;
  try {
    become_sibling(arguments);
    command_line = parse_command_line(arguments);
  } catch (const std::exception& failure) {
    return fail(failure, 2);
  }
  try {
    return run(command_line);
  } catch (const std::exception& failure) {
    return fail(failure, 1);
  }
}
