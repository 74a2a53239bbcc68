// ps, show, cancel, pin, rm, version: what can be seen and done once a context is there.
#include <boost/json.hpp>
#include <chrono>

#include "client/api/context_summary.h"
#include "client/api/json_answer.h"
#include "client/commands/commands.h"
#include "protocol/error.h"

namespace rotulus::client {
namespace {

using protocol::Error;
using protocol::ErrorCode;

constexpr int kPageContexts = 100;

std::string describe_progress(const ContextSummary& context) {
  if (context.status == "completed") return "100 %";
  if (context.total_tokens == 0) return context.phase.empty() ? "-" : context.phase;
  return fmt::format("{} %", 100 * context.processed_tokens / context.total_tokens);
}

std::string age_of(const ContextSummary& context) {
  auto now = std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch());
  return context.created_at ? describe_age(now - std::chrono::seconds(context.created_at)) : "-";
}

// One API call for each of the contexts; answers as JSON, or `done` and its id on a terminal.
int for_each_context(Session& session, const ContextsOptions& options, const std::string& method,
                     const std::string& suffix, std::string_view done) {
  for (const std::string& name : options.contexts) {
    std::string id = find_context(session, name);
    std::string answer = session.http.send({.method = method, .target = "/v1/contexts/" + percent_encode(id) + suffix});
    if (session.wants_json())
      session.results.write(answer + "\n");
    else if (!session.options.is_quiet)
      session.results.write(fmt::format("{} {}\n", id, done));
  }
  return 0;
}

std::string describe_fields(const boost::json::object& object, const std::string& prefix = "") {
  std::string text;
  for (const auto& [key, value] : object) {
    std::string name = prefix + std::string(key);
    if (value.is_object())
      text += describe_fields(value.as_object(), name + ".");
    else if (value.is_string())
      text += fmt::format("{:<28} {}\n", name, std::string_view(value.as_string()));
    else if (!value.is_null())
      text += fmt::format("{:<28} {}\n", name, boost::json::serialize(value));
  }
  return text;
}

}  // namespace

Session open_session(const GlobalOptions& options) {
  return {options, HttpClient(parse_url(options.url), options.api_key), ResultFile(options.output_file)};
}

std::vector<ContextSummary> load_contexts(Session& session) {
  std::vector<ContextSummary> contexts;
  std::string after;
  for (;;) {
    std::string target = fmt::format("/v1/contexts?limit={}{}", kPageContexts, after.empty() ? "" : "&after=" + after);
    ContextPage page = parse_context_page(session.http.send({.target = target}));
    contexts.insert(contexts.end(), page.contexts.begin(), page.contexts.end());
    if (!page.has_more || page.contexts.empty()) return contexts;
    after = page.contexts.back().id;
  }
}

std::string find_context(Session& session, const std::string& id_or_name) {
  if (id_or_name.starts_with("ctx_")) return id_or_name;
  for (const ContextSummary& context : load_contexts(session))
    if (context.name == id_or_name) return context.id;
  throw Error(ErrorCode::not_found, fmt::format("no context is named \"{}\"; rotulus ps lists them", id_or_name));
}

int list_contexts(Session& session) {
  if (session.wants_json()) {
    session.results.write(session.http.send({.target = fmt::format("/v1/contexts?limit={}", kPageContexts)}) + "\n");
    return 0;
  }
  std::vector<std::vector<std::string>> rows{{"NAME", "ID", "STATUS", "TOKENS", "SIZE", "PROGRESS", "AGE"}};
  for (const ContextSummary& context : load_contexts(session))
    rows.push_back({context.name.empty() ? "-" : context.name, context.id, context.status,
                    context.total_tokens ? describe_count(context.total_tokens) : "-",
                    context.bytes ? describe_bytes(context.bytes) : "-", describe_progress(context), age_of(context)});
  session.results.write(format_table(rows));
  return 0;
}

int show_contexts(Session& session, const ContextsOptions& options) {
  for (const std::string& name : options.contexts) {
    std::string answer = session.http.send({.target = "/v1/contexts/" + percent_encode(find_context(session, name))});
    if (session.wants_json())
      session.results.write(answer + "\n");
    else
      session.results.write(describe_fields(parse_object(answer)) + (name == options.contexts.back() ? "" : "\n"));
  }
  return 0;
}

int cancel_contexts(Session& session, const ContextsOptions& options) {
  return for_each_context(session, options, "POST", "/cancel", "cancelled");
}

int pin_contexts(Session& session, const ContextsOptions& options) {
  return for_each_context(session, options, "POST", "/pin", "pinned");
}

int remove_contexts(Session& session, const ContextsOptions& options) {
  return for_each_context(session, options, "DELETE", "", "deleted");
}

int print_version(Session& session) {
  std::string server;
  try {
    server = session.http.send({.target = "/version"}, std::chrono::seconds(5));
  } catch (const Error& unreachable) {
    server = "";  // this program's own version is an answer of its own
  }
  boost::json::value server_value = nullptr;
  if (!server.empty()) server_value = parse_object(server);
  if (session.wants_json()) {
    session.results.write(
        boost::json::serialize(boost::json::object{{"client", ROTULUS_VERSION}, {"server", server_value}}) + "\n");
    return 0;
  }
  session.results.write(fmt::format("rotulus {}\n", ROTULUS_VERSION));
  session.results.write(server.empty() ? fmt::format("no server at {}\n", session.options.url)
                                       : "server\n" + describe_fields(server_value.as_object(), "  "));
  return 0;
}

}  // namespace rotulus::client
