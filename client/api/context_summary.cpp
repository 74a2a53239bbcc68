#include "client/api/context_summary.h"

#include <boost/json.hpp>

#include "client/api/json_answer.h"
#include "protocol/error.h"

namespace rotulus::client {
namespace {

namespace json = boost::json;
using protocol::Error;
using protocol::ErrorCode;

ContextSummary read_context(const json::object& object) {
  ContextSummary context;
  context.id = text_of(object, "id");
  if (context.id.empty()) throw Error(ErrorCode::unavailable, "the server's answer is no context object");
  context.name = text_of(object, "display_name");
  context.status = text_of(object, "status");
  context.phase = text_of(object, "phase");
  context.last_error = text_of(object_of(object, "last_error"), "message");
  context.created_at = number_of(object, "created_at");
  json::object progress = object_of(object, "progress");
  context.total_tokens = static_cast<std::uint64_t>(number_of(progress, "total"));
  context.processed_tokens = static_cast<std::uint64_t>(number_of(progress, "processed"));
  context.eta_ms = number_of(progress, "eta_ms", -1);
  context.bytes = static_cast<std::uint64_t>(number_of(object_of(object_of(object, "usage"), "bytes"), "disk"));
  return context;
}

}  // namespace

ContextSummary parse_context(std::string_view text) {
  return read_context(parse_object(text));
}

ContextPage parse_context_page(std::string_view text) {
  json::object object = parse_object(text);
  const json::value* data = object.if_contains("data");
  if (!data || !data->is_array()) throw Error(ErrorCode::unavailable, "the server's answer is no list of contexts");
  ContextPage page;
  for (const json::value& element : data->as_array())
    if (element.is_object()) page.contexts.push_back(read_context(element.as_object()));
  const json::value* has_more = object.if_contains("has_more");
  page.has_more = has_more && has_more->is_bool() && has_more->as_bool();
  return page;
}

}  // namespace rotulus::client
