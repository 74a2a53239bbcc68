#include <boost/json.hpp>
#include <thread>

#include "client/api/context_summary.h"
#include "client/api/json_answer.h"
#include "client/commands/commands.h"
#include "protocol/error.h"

namespace rotulus::client {
namespace {

using protocol::Error;
using protocol::ErrorCode;

constexpr auto kPollInterval = std::chrono::milliseconds(200);

std::string context_path(const std::string& id) {
  return "/v1/contexts/" + percent_encode(id);
}

// What a pass saw, when it is over and what it found damaged has been computed again.
struct Pass {
  std::string context;  // the API's object
  std::int64_t blocks_verified = 0;
  std::int64_t blocks_damaged = 0;
};

Pass run_pass(Session& session, const std::string& id, ProgressDisplay& display) {
  std::string answer = session.http.send({.method = "POST", .target = context_path(id) + "/verify"});
  for (;;) {
    const boost::json::object verification = object_of(parse_object(answer), "verification");
    const boost::json::object chunks = object_of(verification, "chunks");
    const ContextSummary context = parse_context(answer);
    const std::string status = text_of(verification, "status");
    if (status == "failed") {
      throw Error(ErrorCode::unavailable,
                  fmt::format("{}: {}", id, text_of(object_of(verification, "error"), "message")));
    }
    if (status == "completed") {
      return {answer, number_of(verification, "blocks_verified"), number_of(verification, "blocks_damaged")};
    }
    const bool is_reading = status == "in_progress";
    display.show(
        {.what = is_reading ? "verifying" : "mending",
         .processed = is_reading ? static_cast<std::uint64_t>(number_of(chunks, "read")) : context.processed_tokens,
         .total = is_reading ? static_cast<std::uint64_t>(number_of(chunks, "total")) : context.total_tokens});
    std::this_thread::sleep_for(kPollInterval);
    answer = session.http.send({.target = context_path(id)});
  }
}

// Returns whether all is well in the end.
bool verify_one(Session& session, const std::string& id) {
  ProgressDisplay display = make_progress_display(session.options.is_quiet);
  const Pass first = run_pass(session, id, display);
  const Pass last = first.blocks_damaged > 0 ? run_pass(session, id, display) : first;
  display.finish();
  if (session.wants_json()) {
    session.results.write(last.context + "\n");
  } else {
    std::string line = fmt::format("{} {} blocks verified, {} damaged", id, describe_count(first.blocks_verified),
                                   describe_count(first.blocks_damaged));
    if (first.blocks_damaged > 0) {
      line += fmt::format("; computed again: {} verified, {} damaged", describe_count(last.blocks_verified),
                          describe_count(last.blocks_damaged));
    }
    session.results.write(line + "\n");
  }
  return last.blocks_damaged == 0 && parse_context(last.context).status == "completed";
}

}  // namespace

int verify_contexts(Session& session, const ContextsOptions& options) {
  std::vector<std::string> ids;
  for (const std::string& name : options.contexts) ids.push_back(find_context(session, name));
  if (options.contexts.empty()) {
    for (const ContextSummary& context : load_contexts(session)) {
      if (context.status == "completed") ids.push_back(context.id);
    }
  }
  bool is_well = true;
  for (const std::string& id : ids) is_well = verify_one(session, id) && is_well;
  return is_well ? 0 : 1;
}

}  // namespace rotulus::client
