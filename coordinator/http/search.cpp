#include "coordinator/http/search.h"

#include <fmt/format.h>

#include "coordinator/http/attention_form.h"
#include "coordinator/http/awaiting.h"
#include "coordinator/http/event_stream.h"

namespace rotulus::coordinator::http {
namespace {

using protocol::Error;
using protocol::ErrorCode;

constexpr std::int64_t kMaxResults = 50;

struct RankingForm {
  float score_threshold = 0;
};
constexpr Field<RankingForm> kRankingForm[] = {
    {"score_threshold", [](FieldValue v, RankingForm& f) { f.score_threshold = static_cast<float>(v.number(0, 1)); }},
    {"ranker",
     [](FieldValue v, RankingForm&) {
       v.choice({"auto", "none"});
     }},
};

struct SearchForm {
  std::optional<std::string> query;
  std::size_t max_results = 10;
  RankingForm ranking;
  // At one distance no page is preferred for where it stands.
  AnswerAttention attention{.spec = {.positions = protocol::PositionPolicy::block_constant}};
};

// A string, or an array that holds one.
void read_query(FieldValue v, SearchForm& f) {
  auto* array = v.json().get_if<JsonValue::Array>();
  if (array && array->size() == 1) {
    f.query = FieldValue(v.name(), array->front()).text();
  } else {
    f.query = v.text();
  }
}

void read_ranking(FieldValue v, SearchForm& f) {
  JsonValue::Object members = v.object();
  read_form<RankingForm>(members, kRankingForm, f.ranking);
}

constexpr Field<SearchForm> kSearchForm[] = {
    {"query", read_query},
    {"max_num_results",
     [](FieldValue v, SearchForm& f) { f.max_results = static_cast<std::size_t>(v.integer(1, kMaxResults)); }},
    {"ranking_options", read_ranking},
    {"rewrite_query",
     [](FieldValue v, SearchForm&) {
       const auto* flag = v.json().get_if<bool>();
       v.neutral(flag && !*flag, "false");
     }},
    {"filters",
     [](FieldValue v, SearchForm&) {
       const auto* object = v.json().get_if<JsonValue::Object>();
       v.neutral(object && object->empty(), "{}");
     }},
    {"attention", [](FieldValue v, SearchForm& f) { read_answer_attention(v, f.attention); }},
};

QueryRequest to_request(const SearchForm& form, const ContextView& context) {
  QueryRequest request;
  request.context = context.id;
  if (context.description.frame == protocol::Frame::raw) {
    request.prompt = "\n\n" + *form.query;
  } else {
    request.prompt = std::vector<protocol::ChatMessage>{{"user", *form.query}};
  }
  request.sampling.temperature = 0;
  request.max_tokens = 1;  // what is looked at is decided by then
  request.attention = form.attention.spec;
  request.attention.reread_tokens = 0;  // nothing is answered
  return request;
}

std::string page_json(const SearchForm& form, const ContextView& context, const QueryResult& found) {
  JsonWriter json;
  json.begin_object().field("object", "vector_store.search_results.page");
  json.key("search_query").begin_array().value(*form.query).end_array().key("data").begin_array();
  std::size_t results = 0;
  for (const Passage& passage : found.provenance) {
    if (results == form.max_results || !(passage.mass >= form.ranking.score_threshold)) break;
    ++results;
    json.begin_object().field("file_id", protocol::to_string(context.id));
    json.field("filename", context.description.display_name).field("score", passage.mass);
    json.key("attributes").begin_object().key("token_range");
    write_token_range(json, passage.range);
    json.end_object().key("content").begin_array().begin_object();
    json.field("type", "text").field("text", passage.text).end_object().end_array().end_object();
  }
  json.end_array().field("has_more", false).field_or_null("next_page", "");
  if (form.attention.is_reported || found.attention.mode == protocol::AttentionMode::retrieval) {
    json.key("attention");
    write_report(json, found.attention);
  }
  json.end_object();
  return json.take();
}

// What the query's events leave for the coroutine that waits.
struct Outcome {
  Wakeup wakeup;
  std::optional<QueryFailure> failure;
  std::optional<QueryResult> result;
};

}  // namespace

Handled search_context(const Backends& backends, Exchange& exchange, std::string id) {
  SearchForm form;
  form.attention.spec.second_pass = false;  // what the first one looked at is what is asked for
  {
    JsonValue body = co_await read_json_body(exchange);
    read_form(body, kSearchForm, form);
  }
  form.attention.spec.wants_provenance = true;
  if (!form.query || form.query->empty()) refuse_field("query", "`query` is missing: it is what is to be found.");
  const auto context_id = protocol::parse_context_id(id);
  const auto context = context_id ? backends.contexts.find(*context_id) : std::nullopt;
  if (!context) throw Error(ErrorCode::not_found, fmt::format("There is no context {}.", id.substr(0, 40)));

  Outcome outcome;
  QueryEvents events;
  events.on_finished = [&outcome](const QueryResult& result) {
    outcome.result = result;
    outcome.wakeup.notify();
  };
  events.on_failed = [&outcome](const QueryFailure& failure) {
    outcome.failure = failure;
    outcome.wakeup.notify();
  };
  const auto query = backends.queries.start(to_request(form, *context), std::move(events));
  while (!outcome.result && !outcome.failure) {
    if (exchange.is_client_gone()) co_return std::nullopt;
    co_await outcome.wakeup.wait(kClientCheckInterval);
  }
  if (outcome.failure) co_return error_response(to_api_error(*outcome.failure, backends.cluster));
  co_return json_response(page_json(form, *context, *outcome.result));
}

}  // namespace rotulus::coordinator::http
