#include <boost/json.hpp>
#include <iostream>
#include <iterator>

#include "client/api/event_stream.h"
#include "client/api/json_answer.h"
#include "client/commands/attention.h"
#include "client/commands/commands.h"
#include "protocol/error.h"

namespace rotulus::client {
namespace {

namespace json = boost::json;
using protocol::Error;
using protocol::ErrorCode;

json::object make_attention(const AskOptions& options) {
  json::object attention = attention_of(options.attention);
  if (options.is_one_pass) attention["second_pass"] = false;
  if (options.rereads) attention["reread"] = *options.rereads;
  return attention;
}

Request make_request(Session& session, const AskOptions& options) {
  json::object body{{"context_id", find_context(session, options.context)}};
  std::string question = read_question(options.question);
  if (options.is_raw)
    body["prompt"] = question;
  else
    body["messages"] = json::array{json::object{{"role", "user"}, {"content", question}}};
  if (options.max_tokens) body["max_tokens"] = *options.max_tokens;
  if (options.temperature) body["temperature"] = *options.temperature;
  if (options.top_k) body["top_k"] = *options.top_k;
  if (options.top_p) body["top_p"] = *options.top_p;
  if (options.min_p) body["min_p"] = *options.min_p;
  if (options.seed) body["seed"] = *options.seed;
  if (json::object attention = make_attention(options); !attention.empty()) body["attention"] = attention;
  if (options.wants_provenance) body["return_provenance"] = true;
  if (!options.stop.empty()) body["stop"] = json::value_from(options.stop);
  if (!session.wants_json()) {
    body["stream"] = true;
    body["stream_options"] = json::object{{"include_usage", true}};
  }
  return {.method = "POST",
          .target = options.is_raw ? "/v1/completions" : "/v1/chat/completions",
          .content_type = "application/json",
          .body = json::serialize(body)};
}

// What one chunk of the stream adds to the answer; "" for chunks that carry something else.
std::string text_of_chunk(const json::object& chunk) {
  const json::value* choices = chunk.if_contains("choices");
  if (!choices || !choices->is_array() || choices->as_array().empty() || !choices->as_array()[0].is_object()) return "";
  const json::object& choice = choices->as_array()[0].as_object();
  return text_of(choice, "text") + text_of(object_of(choice, "delta"), "content");
}

// An error that arrives after the answer has begun.
void throw_if_error(const json::object& chunk) {
  json::object error = object_of(chunk, "error");
  if (!error.empty()) throw Error(ErrorCode::unavailable, "the answer broke off: " + text_of(error, "message"));
}

std::string describe_usage(const json::object& usage) {
  return fmt::format("{} tokens in the prompt, {} of them kept in memory; {} in the answer",
                     describe_count(number_of(usage, "prompt_tokens")),
                     describe_count(number_of(object_of(usage, "prompt_tokens_details"), "cached_tokens")),
                     describe_count(number_of(usage, "completion_tokens")));
}

// The passages that were attended to most; "" where none came.
std::string describe_provenance(const json::object& chunk) {
  const json::value* passages = chunk.if_contains("provenance");
  if (!passages || !passages->is_array()) return "";
  std::string text;
  for (const json::value& element : passages->as_array()) {
    if (!element.is_object()) continue;
    const json::object& passage = element.as_object();
    text += "\n" +
            describe_passage(score_of(passage, "mass"), passage.if_contains("token_range"), text_of(passage, "text"));
  }
  return text;
}

void stream_answer(Session& session, const Request& request) {
  bool is_done = false;
  json::object usage;
  json::object report;
  std::string provenance;
  EventStreamParser parser([&](const ServerEvent& event) {
    if (event.data == "[DONE]") {
      is_done = true;
      return;
    }
    json::object chunk = parse_object(event.data);
    throw_if_error(chunk);
    session.results.write(text_of_chunk(chunk));
    if (json::object so_far = object_of(chunk, "usage"); !so_far.empty()) usage = so_far;
    if (json::object attention = object_of(chunk, "attention"); !attention.empty()) report = attention;
    provenance += describe_provenance(chunk);
  });
  session.http.stream(request, [&](std::string_view bytes) {
    parser.feed(bytes);
    return !is_done;
  });
  session.results.write("\n" + provenance);
  if (!is_done) throw Error(ErrorCode::unavailable, "the answer broke off: the server closed the stream");
  if (session.options.is_quiet) return;
  if (!usage.empty()) fmt::print(stderr, "{}\n", describe_usage(usage));
  if (!report.empty()) fmt::print(stderr, "{}\n", describe_report(report));
}

}  // namespace

std::string read_question(const std::string& question) {
  if (question != "-") return question;
  return {std::istreambuf_iterator<char>(std::cin), {}};
}

int ask(Session& session, const AskOptions& options) {
  Request request = make_request(session, options);
  if (session.wants_json())
    session.results.write(session.http.send(request) + "\n");
  else
    stream_answer(session, request);
  return 0;
}

}  // namespace rotulus::client
