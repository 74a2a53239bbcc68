#include "coordinator/http/estimate.h"

#include <algorithm>
#include <chrono>

#include "coordinator/http/attention_form.h"
#include "coordinator/http/awaiting.h"
#include "coordinator/http/context_form.h"
#include "protocol/limits.h"

namespace rotulus::coordinator::http {
namespace {

using protocol::Error;
using namespace std::chrono_literals;

constexpr auto kCountTimeout = 60s;  // of one piece
constexpr std::int64_t kMaxTokens = std::int64_t{1} << 40;

// One document on its way through the tokenizer, in pieces.
class TokenCount final {
 public:
  TokenCount(Cluster& cluster, const protocol::ContextDescription& description)
      : cluster_(cluster), call_(cluster.begin_count()), frame_(description.frame), system_(description.system) {}
  ~TokenCount() {
    if (!is_begun_ || is_ended_) return;
    cluster_.count({.call = call_, .is_last = true}, [](const auto&, std::uint64_t) {});
  }
  TokenCount(const TokenCount&) = delete;
  TokenCount& operator=(const TokenCount&) = delete;

  awaitable<void> add(std::string_view text) {
    for (; !text.empty(); text.remove_prefix(std::min(text.size(), protocol::kTokenizePieceBytes))) {
      co_await give(std::string(text.substr(0, protocol::kTokenizePieceBytes)), false);
    }
  }
  awaitable<std::uint64_t> finish() {
    co_await give({}, true);
    co_return tokens_;
  }

 private:
  awaitable<void> give(std::string bytes, bool is_last) {
    protocol::TokenizeDocument piece{.call = call_, .is_first = !is_begun_, .is_last = is_last};
    piece.frame = frame_;
    piece.system = system_;
    piece.bytes = std::move(bytes);
    is_begun_ = true;
    is_ended_ = is_last;
    Reply<std::optional<Error>, std::uint64_t> reply;
    cluster_.count(std::move(piece), reply.callback());
    auto [error, tokens] = co_await reply.answer("the worker group", kCountTimeout);
    if (error) throw *error;
    tokens_ += tokens;
  }

  Cluster& cluster_;
  const std::uint64_t call_;
  const protocol::Frame frame_;
  const std::optional<std::string> system_;
  std::uint64_t tokens_ = 0;
  bool is_begun_ = false;
  bool is_ended_ = false;
};

struct CountedDocument {
  std::uint64_t tokens = 0;
  KeptForRetrieval kept;
};

ContextFields estimate_fields() {
  ContextFields fields = context_fields();
  fields.push_back({"tokens", [](FieldValue v, ContextForm& f) {
                      f.token_count = static_cast<std::uint64_t>(v.integer(1, kMaxTokens));
                    }});
  return fields;
}

awaitable<CountedDocument> count_json(const Backends& backends, Exchange& exchange) {
  const ContextForm form = co_await read_context_json(exchange, estimate_fields());
  CountedDocument document{.kept = {form.description.attention, form.description.landmarks}};
  if (form.text.has_value() + form.input_ids.has_value() + form.token_count.has_value() != 1) {
    refuse_field("text", "Give the document as exactly one of `text`, `input_ids` and `tokens`, which is their count.");
  }
  if (form.text ? form.text->empty() : form.input_ids && form.input_ids->empty()) {
    refuse_field(form.text ? "text" : "input_ids", "The document is empty.");
  }
  if (form.text) {
    TokenCount count(backends.cluster, form.description);
    co_await count.add(*form.text);
    document.tokens = co_await count.finish();
  } else if (form.input_ids) {
    check_ids(*form.input_ids, 0, backends.cluster.view().model);
    document.tokens = form.input_ids->size();
  } else {
    document.tokens = *form.token_count;
  }
  co_return document;
}

awaitable<CountedDocument> count_body(const Backends& backends, Exchange& exchange, bool holds_ids) {
  const ContextForm form = read_context_query(exchange.request().query, context_fields());
  CountedDocument document{.kept = {form.description.attention, form.description.landmarks}};
  exchange.limit_body(protocol::kMaxDocumentBytes);
  IdChecker ids(backends.cluster.view().model);
  TokenCount count(backends.cluster, form.description);
  bool is_empty = true;
  while (true) {
    const std::string_view piece = co_await exchange.read_body();
    if (piece.empty()) break;
    is_empty = false;
    if (holds_ids) {
      ids.write(piece);
    } else {
      co_await count.add(piece);
    }
  }
  if (is_empty) refuse_field("", "The body is empty: it must be the document.");
  if (holds_ids) {
    document.tokens = ids.finish();
  } else {
    document.tokens = co_await count.finish();
  }
  co_return document;
}

std::string estimate_json(const ContextEstimate& estimate, const ClusterView& cluster) {
  std::uint64_t ram_budget = 0;
  for (const RankView& rank : cluster.ranks) ram_budget += rank.stats.host_bytes_budget;
  JsonWriter json;
  json.begin_object().field("object", "context.estimate").field("tokens", estimate.tokens);
  json.field("fits", !estimate.obstacle.has_value()).key("attention");
  write_retrieval(json, mode_of(estimate.retrieval), estimate.retrieval);
  json.key("bytes").begin_object().field("disk", estimate.disk_bytes);
  json.field("ram", std::min(estimate.disk_bytes, ram_budget));
  json.field("landmarks", estimate.landmark_bytes);
  json.field("saved_by_windows", estimate.window_savings).end_object();
  json.key("available").begin_object().field("disk", estimate.disk_bytes_free).field("ram", ram_budget).end_object();
  json.key("seconds");
  if (estimate.seconds) {
    json.value(*estimate.seconds);
  } else {
    json.null();
  }
  json.key("obstacle");
  if (estimate.obstacle) {
    json.begin_object().field("code", protocol::to_string(estimate.obstacle->code()));
    json.field("message", estimate.obstacle->message()).end_object();
  } else {
    json.null();
  }
  json.end_object();
  return json.take();
}

}  // namespace

Handled estimate_context(const Backends& backends, Exchange& exchange) {
  const auto body = document_body(exchange.request());
  if (!body) co_return unsupported_document();
  CountedDocument document;
  if (*body == DocumentBody::json) {
    document = co_await count_json(backends, exchange);
  } else {
    document = co_await count_body(backends, exchange, *body == DocumentBody::token_ids);
  }
  const ContextEstimate estimate = backends.contexts.estimate(document.tokens, document.kept);
  co_return json_response(estimate_json(estimate, backends.cluster.view()));
}

}  // namespace rotulus::coordinator::http
