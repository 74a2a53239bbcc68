// export and import: a context as a file, on its way from one cluster to another.
#include <unistd.h>

#include <filesystem>

#include "client/commands/commands.h"
#include "client/commands/document.h"
#include "protocol/error.h"

namespace rotulus::client {

using protocol::Error;
using protocol::ErrorCode;

int export_context(Session& session, const ExportOptions& options) {
  const std::string& file = session.options.output_file;
  if (file.empty() && ::isatty(STDOUT_FILENO) == 1)
    throw Error(ErrorCode::invalid_argument, "a context is no text for a terminal: give it a file with -o", "output");
  const std::string id = find_context(session, options.context);
  std::uint64_t bytes = 0;
  auto write = [&](std::string_view piece) {
    session.results.write(piece);
    bytes += piece.size();
    return true;
  };
  try {
    session.http.stream({.target = "/v1/contexts/" + percent_encode(id) + "/export"}, write, std::chrono::seconds(600));
  } catch (const Error&) {
    std::error_code ignored;  // a part of a context is of no use
    if (!file.empty()) std::filesystem::remove(file, ignored);
    throw;
  }
  if (!session.options.is_quiet) fmt::print(stderr, "{}: {} exported\n", id, describe_bytes(bytes));
  return 0;
}

int import_context(Session& session, const ImportOptions& options) {
  std::string target = "/v1/contexts/import";
  if (options.name) target += "?display_name=" + percent_encode(*options.name);
  const std::string answer = send_file(session, target, options.file, "application/octet-stream");
  session.results.write(session.wants_json() ? answer + "\n" : parse_context(answer).id + "\n");
  return 0;
}

}  // namespace rotulus::client
