#include <fmt/format.h>

#include <boost/json.hpp>

#include "client/api/json_answer.h"
#include "client/commands/attention.h"
#include "client/commands/commands.h"

namespace rotulus::client {
namespace {

namespace json = boost::json;

Request make_request(Session& session, const SearchOptions& options) {
  json::object body{{"query", read_question(options.query)}, {"max_num_results", options.max_results}};
  if (json::object attention = attention_of(options.attention); !attention.empty()) body["attention"] = attention;
  return {.method = "POST",
          .target = "/v1/contexts/" + percent_encode(find_context(session, options.context)) + "/search",
          .content_type = "application/json",
          .body = json::serialize(body)};
}

std::string describe_hit(const json::object& hit) {
  std::string text;
  if (const json::value* content = hit.if_contains("content"); content && content->is_array())
    for (const json::value& part : content->as_array())
      if (part.is_object()) text += text_of(part.as_object(), "text");
  json::object attributes = object_of(hit, "attributes");
  return describe_passage(score_of(hit, "score"), attributes.if_contains("token_range"), text);
}

}  // namespace

int search(Session& session, const SearchOptions& options) {
  std::string answer = session.http.send(make_request(session, options));
  if (session.wants_json()) {
    session.results.write(answer + "\n");
    return 0;
  }
  json::object page = parse_object(answer);
  std::string text;
  if (const json::value* data = page.if_contains("data"); data && data->is_array())
    for (const json::value& hit : data->as_array())
      if (hit.is_object()) text += (text.empty() ? "" : "\n") + describe_hit(hit.as_object());
  session.results.write(text);
  if (text.empty() && !session.options.is_quiet) fmt::print(stderr, "nothing was found\n");
  return 0;
}

}  // namespace rotulus::client
