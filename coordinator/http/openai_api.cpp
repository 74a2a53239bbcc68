#include <fmt/format.h>
#include <openssl/rand.h>

#include <chrono>

#include "coordinator/http/backends.h"
#include "coordinator/http/event_stream.h"
#include "coordinator/http/json_writer.h"
#include "coordinator/http/openai_answer.h"
#include "protocol/limits.h"

namespace rotulus::coordinator::http {
namespace {

using protocol::Error;
using std::chrono::milliseconds;
using std::chrono::steady_clock;
using namespace std::chrono_literals;

// Until then a stream that has not begun may still become a plain 503, which clients try again.
constexpr milliseconds kPatienceBeforeStream = protocol::kWorkerGroupTimeout + 5s;

std::string draw_id(std::string_view prefix) {
  unsigned char bytes[12];
  RAND_bytes(bytes, sizeof bytes);
  std::string id(prefix);
  for (const unsigned char byte : bytes) id += fmt::format("{:02x}", byte);
  return id;
}

OpenAiAnswer::Identity identify(const Backends& backends, CompletionKind kind, std::optional<protocol::ContextId> id) {
  const ClusterView cluster = backends.cluster.view();
  OpenAiAnswer::Identity identity;
  identity.id = draw_id(kind == CompletionKind::chat ? "chatcmpl-" : "cmpl-");
  identity.created_unix_s =
      std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
  identity.model = backends.cluster.model_name();
  if (cluster.parameters) {
    identity.system_fingerprint =
        fmt::format("fp_{}_{}", cluster.parameters->model_fingerprint.substr(0, 12), cluster.parameters->numerics_id);
  }
  if (id) {
    const auto context = backends.contexts.find(*id);
    identity.numerics_changed = context && context->numerics_changed;
  }
  return identity;
}

// One answer on its way: what the query's events write, and the request's coroutine sends.
class RunningAnswer {
 public:
  RunningAnswer(const Backends& backends, Exchange& exchange, CompletionRequest request)
      : backends_(backends),
        request_(std::move(request)),
        context_(request_.query.context),
        answer_(request_),
        events_(exchange) {}

  void start() {
    QueryEvents events;
    events.on_started = [this](const QueryUsage& usage) {
      cached_tokens_ = usage.cached_tokens;
      begin();
    };
    events.on_progress = [this](std::uint64_t processed, std::uint64_t total) { report_progress(processed, total); };
    events.on_token = [this](const protocol::AnswerToken& token) {
      begin();
      if (request_.is_streamed) send(answer_.token_chunk(token));
      answer_.add(token);
    };
    events.on_waiting = [this](const std::string& why) {
      if (has_begun_) events_.comment(why);
    };
    events.on_finished = [this](const QueryResult& result) { finish(result); };
    events.on_failed = [this](const QueryFailure& failure) {
      failure_ = failure;
      events_.notify();
    };
    query_ = backends_.queries.start(std::move(request_.query), std::move(events));
  }

  const CompletionRequest& request() const { return request_; }
  EventQueue& events() { return events_; }
  bool has_begun() const { return has_begun_; }
  bool is_finished() const { return is_finished_; }
  const std::optional<QueryFailure>& failure() const { return failure_; }
  std::string whole() const { return answer_.whole(); }

 private:
  void begin() {
    if (std::exchange(has_begun_, true)) return;
    answer_.identify(identify(backends_, request_.kind, context_));
    if (request_.is_streamed && request_.kind == CompletionKind::chat) send(answer_.role_chunk());
    events_.notify();
  }

  void report_progress(std::uint64_t processed, std::uint64_t total) {
    if (!request_.is_streamed || !request_.reports_progress) return;
    begin();
    const auto spent = std::chrono::duration_cast<milliseconds>(steady_clock::now() - began_at_);
    send(answer_.progress_chunk(processed, total, cached_tokens_, spent.count()));
  }

  void finish(const QueryResult& result) {
    begin();
    answer_.finish(result);
    is_finished_ = true;
    if (request_.is_streamed) {
      if (!result.rest_of_text.empty()) send(answer_.text_chunk(result.rest_of_text));
      send(answer_.finish_chunk());
      if (request_.includes_usage) send(answer_.usage_chunk());
      send("[DONE]");
    }
    events_.finish();
  }

  void send(std::string_view data) {
    if (!data.empty()) events_.send(data);
  }

  const Backends& backends_;
  CompletionRequest request_;
  const std::optional<protocol::ContextId> context_;  // the request's own goes to its query
  OpenAiAnswer answer_;
  EventQueue events_;
  const steady_clock::time_point began_at_ = steady_clock::now();
  std::uint64_t cached_tokens_ = 0;
  bool has_begun_ = false;
  bool is_finished_ = false;
  std::optional<QueryFailure> failure_;
  std::unique_ptr<Query> query_;  // last: destroyed first, and no event comes after
};

// Waits until `is_over` or a failure. False: the client has gone.
awaitable<bool> wait_until(Exchange& exchange, RunningAnswer& answer, std::function<bool()> is_over) {
  while (!answer.failure() && !is_over()) {
    if (exchange.is_client_gone()) co_return false;
    co_await answer.events().wait(kClientCheckInterval);
  }
  co_return true;
}

Handled answer_whole(const Backends& backends, Exchange& exchange, RunningAnswer& answer) {
  std::function<bool()> is_over = [&] { return answer.is_finished(); };
  if (!co_await wait_until(exchange, answer, std::move(is_over))) co_return std::nullopt;
  if (answer.failure()) co_return error_response(to_api_error(*answer.failure(), backends.cluster));
  co_return json_response(answer.whole());
}

Handled answer_stream(const Backends& backends, Exchange& exchange, RunningAnswer& answer) {
  const auto give_up_at = steady_clock::now() + kPatienceBeforeStream;
  std::function<bool()> has_begun = [&] { return answer.has_begun() || steady_clock::now() >= give_up_at; };
  if (!co_await wait_until(exchange, answer, std::move(has_begun))) co_return std::nullopt;
  if (answer.failure() && !answer.has_begun())
    co_return error_response(to_api_error(*answer.failure(), backends.cluster));
  co_await exchange.begin_stream("text/event-stream");
  std::function<void()> end_on_failure = [&] {
    if (!answer.failure() || answer.events().is_finished()) return;
    answer.events().send(to_json(to_api_error(*answer.failure(), backends.cluster)));
    answer.events().finish();
  };
  co_await send_events(exchange, answer.events(), backends.config.keep_alive_interval, std::move(end_on_failure));
  co_return std::nullopt;
}

Handled complete(const Backends& backends, Exchange& exchange, CompletionKind kind) {
  JsonValue body = co_await read_json_body(exchange);
  RunningAnswer answer(backends, exchange, read_completion_request(kind, std::move(body)));
  answer.start();
  if (answer.request().is_streamed) co_return co_await answer_stream(backends, exchange, answer);
  co_return co_await answer_whole(backends, exchange, answer);
}

Handled list_models(const Backends& backends) {
  const ClusterView cluster = backends.cluster.view();
  const protocol::ModelFacts facts = cluster.model.value_or(protocol::ModelFacts{});
  JsonWriter json;
  json.begin_object().field("object", "list").key("data").begin_array().begin_object();
  json.field("id", backends.cluster.model_name()).field("object", "model").field("created", backends.started_at_unix_s);
  json.field("owned_by", "rotulus").field("max_model_len", facts.context_length);
  json.key("meta").begin_object().field("n_vocab", facts.vocabulary).field("n_ctx_train", facts.trained_length);
  json.field("n_params", facts.parameter_count).field("size", facts.file_bytes).end_object();
  json.end_object().end_array().end_object();
  co_return json_response(json.take());
}

}  // namespace

std::vector<Route> openai_routes(const Backends& backends) {
  const auto chat = [&backends](Exchange& exchange, std::string) {
    return complete(backends, exchange, CompletionKind::chat);
  };
  const auto text = [&backends](Exchange& exchange, std::string) {
    return complete(backends, exchange, CompletionKind::text);
  };
  const auto models = [&backends](Exchange&, std::string) { return list_models(backends); };
  return {
      {.method = "POST", .pattern = "/v1/chat/completions", .handler = chat, .is_work = true},
      {.method = "POST", .pattern = "/v1/completions", .handler = text, .is_work = true},
      {.method = "GET", .pattern = "/v1/models", .handler = models},
  };
}

}  // namespace rotulus::coordinator::http
