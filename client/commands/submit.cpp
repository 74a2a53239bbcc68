#include <boost/json.hpp>
#include <filesystem>
#include <thread>

#include "client/api/context_summary.h"
#include "client/api/event_stream.h"
#include "client/api/json_answer.h"
#include "client/commands/commands.h"
#include "client/commands/document.h"
#include "protocol/error.h"

namespace rotulus::client {
namespace {

using protocol::Error;
using protocol::ErrorCode;
using namespace std::chrono_literals;

constexpr auto kReconnectFor = 60s;  // while waiting; longer than a restart of the server takes
constexpr auto kReconnectEvery = 500ms;

std::string submit_target(const SubmitOptions& options) {
  std::string name = options.name.value_or(
      options.file == "-" ? std::string() : std::filesystem::path(options.file).filename().string());
  std::string target = "/v1/contexts?" + document_fields(options);
  if (!name.empty()) target += "&display_name=" + percent_encode(name);
  if (options.ttl_seconds) target += fmt::format("&ttl={}", *options.ttl_seconds);
  return target;
}

void show_progress(ProgressDisplay& display, const ContextSummary& context) {
  display.show({context.phase.empty() ? context.status : context.phase, context.processed_tokens, context.total_tokens,
                context.eta_ms});
}

// Follows the context's events to its end; the last context object, as the API gave it.
std::string follow_events(Session& session, const std::string& id, ProgressDisplay& display) {
  std::string last;
  EventStreamParser parser([&](const ServerEvent& event) {
    boost::json::object error = object_of(parse_object(event.data), "error");
    if (!error.empty()) throw Error(ErrorCode::internal, fmt::format("{}: {}", id, text_of(error, "message")));
    last = event.data;
    show_progress(display, parse_context(last));
  });
  session.http.stream({.target = "/v1/contexts/" + id + "/events"}, [&](std::string_view bytes) {
    parser.feed(bytes);
    return last.empty() || !parse_context(last).is_final();
  });
  return last;
}

}  // namespace

std::string wait_until_final(Session& session, const std::string& id) {
  ProgressDisplay display = make_progress_display(session.options.is_quiet);
  auto last_contact = std::chrono::steady_clock::now();
  for (;;) {
    try {
      std::string last = follow_events(session, id, display);
      last_contact = std::chrono::steady_clock::now();
      if (!last.empty() && parse_context(last).is_final()) {
        display.finish();
        return last;
      }
    } catch (const Error& failure) {
      if (failure.code() != ErrorCode::unavailable || std::chrono::steady_clock::now() - last_contact > kReconnectFor)
        throw;
    }
    std::this_thread::sleep_for(kReconnectEvery);
  }
}

namespace {

// Tells the context that the server answered with, waiting for its end if that was asked for.
int finish(Session& session, std::string answer, bool must_wait) {
  ContextSummary context = parse_context(answer);
  if (must_wait) {
    // The id at once, so that a wait that is broken off loses nothing.
    if (!session.options.is_quiet) fmt::print(stderr, "{} accepted\n", context.id);
    answer = wait_until_final(session, context.id);
    context = parse_context(answer);
  }
  session.results.write((session.wants_json() ? answer : context.id) + "\n");
  // A context that was completed before, and could not be continued, is completed still.
  const bool has_failed = context.status == "failed" || context.status == "cancelled" || !context.last_error.empty();
  if (has_failed && context.is_final())
    throw Error(ErrorCode::internal, fmt::format("{} {}: {}", context.id, context.status, context.last_error));
  return 0;
}

std::string continue_context(Session& session, const AppendOptions& options, std::string_view verb) {
  boost::json::object body;
  if (!options.file.empty()) body["text"] = read_document(options.file);
  return session.http.send(
      {.method = "POST",
       .target = fmt::format("/v1/contexts/{}/{}", percent_encode(find_context(session, options.context)), verb),
       .content_type = "application/json",
       .body = boost::json::serialize(body)});
}

}  // namespace

int submit(Session& session, const SubmitOptions& options) {
  return finish(session, send_document(session, submit_target(options), options), options.must_wait);
}

int append(Session& session, const AppendOptions& options) {
  return finish(session, continue_context(session, options, "append"), options.must_wait);
}

int fork(Session& session, const ForkOptions& options) {
  return finish(session, continue_context(session, options, "fork"), options.must_wait);
}

}  // namespace rotulus::client
