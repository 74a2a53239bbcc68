#include <fmt/format.h>

#include <charconv>
#include <chrono>

#include "coordinator/http/awaiting.h"
#include "coordinator/http/backends.h"
#include "coordinator/http/context_form.h"
#include "coordinator/http/context_json.h"
#include "coordinator/http/estimate.h"
#include "coordinator/http/event_stream.h"
#include "coordinator/http/json_writer.h"
#include "coordinator/http/request_form.h"
#include "coordinator/http/search.h"
#include "coordinator/http/transfers.h"
#include "coordinator/http/uploads.h"

namespace rotulus::coordinator::http {
namespace {

using protocol::Error;
using protocol::ErrorCode;
using std::chrono::steady_clock;
using namespace std::chrono_literals;

constexpr auto kEraseTimeout = 120s;
constexpr auto kPinTimeout = 120s;
constexpr auto kCopyTimeout = 600s;
constexpr std::int64_t kMaxListed = 100;

[[noreturn]] void no_context(std::string_view id) {
  throw Error(ErrorCode::not_found, fmt::format("There is no context {}.", id.substr(0, 40)));
}

ContextId context_id(std::string_view text) {
  const auto id = protocol::parse_context_id(text);
  if (!id) no_context(text);
  return *id;
}

bool is_terminal(ContextStatus status) {
  return status == ContextStatus::completed || status == ContextStatus::failed || status == ContextStatus::cancelled;
}

struct ListForm {
  std::optional<ContextId> after;
  std::size_t limit = 20;
};

constexpr Field<ListForm> kListForm[] = {
    {"after",
     [](FieldValue v, ListForm& f) {
       f.after = protocol::parse_context_id(*v.json().get_if<std::string>());
       if (!f.after) v.refuse("the id of a context");
     }},
    {"limit",
     [](FieldValue v, ListForm& f) {
       const std::string text = *v.json().get_if<std::string>();
       const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), f.limit);
       if (failure != std::errc{} || end != text.data() + text.size() || f.limit < 1 || f.limit > kMaxListed) {
         v.refuse(fmt::format("an integer from 1 to {}", kMaxListed));
       }
     }},
};

Handled list_contexts(const Backends& backends, Exchange& exchange) {
  JsonValue query = parse_query(exchange.request().query);
  ListForm form;
  read_form(query, kListForm, form);
  std::vector<ContextView> views = backends.contexts.list(form.after, form.limit + 1);
  const bool has_more = views.size() > form.limit;
  if (has_more) views.resize(form.limit);
  JsonWriter json;
  json.begin_object().field("object", "list").key("data").begin_array();
  for (const ContextView& view : views) json.raw(to_json(view, backends.cluster.model_name()));
  json.end_array();
  json.field_or_null("first_id", views.empty() ? "" : protocol::to_string(views.front().id));
  json.field_or_null("last_id", views.empty() ? "" : protocol::to_string(views.back().id));
  json.field("has_more", has_more).end_object();
  co_return json_response(json.take());
}

Handled show_context(const Backends& backends, Exchange&, std::string id) {
  const auto view = backends.contexts.find(context_id(id));
  if (!view) no_context(id);
  co_return json_response(to_json(*view, backends.cluster.model_name()));
}

Handled cancel_context(const Backends& backends, Exchange&, std::string id) {
  const ContextView view = backends.contexts.cancel(context_id(id));
  co_return json_response(to_json(view, backends.cluster.model_name()));
}

Handled pin_context(const Backends& backends, Exchange&, std::string id) {
  Reply<std::optional<Error>, ContextView> reply;
  backends.contexts.pin(context_id(id), reply.callback());
  auto [error, view] = co_await reply.answer("the catalogue", kPinTimeout);
  if (error) throw *error;
  co_return json_response(to_json(view, backends.cluster.model_name()));
}

Handled verify_context(const Backends& backends, Exchange&, std::string id) {
  const ContextView view = backends.contexts.verify(context_id(id));
  co_return json_response(to_json(view, backends.cluster.model_name()), 202);
}

Handled erase_context(const Backends& backends, Exchange&, std::string id) {
  Reply<std::optional<Error>> reply;
  backends.contexts.erase(context_id(id), reply.callback());
  auto [error] = co_await reply.answer("the catalogue", kEraseTimeout);
  if (error) throw *error;
  JsonWriter json;
  json.begin_object().field("id", id).field("object", "context.deleted").field("deleted", true).end_object();
  co_return json_response(json.take());
}

struct ContinuationForm {
  std::optional<std::string> text;
};

constexpr Field<ContinuationForm> kContinuationForm[] = {
    {"text", [](FieldValue v, ContinuationForm& f) { f.text = v.text(); }},
};

// POST …/append and …/fork: `derive` is the one or the other.
template <typename Derive>
Handled continue_context(const Backends& backends, Exchange& exchange, std::string text_of_id, bool needs_text,
                         Derive derive) {
  ContinuationForm form;
  {
    JsonValue body = co_await read_json_body(exchange);
    read_form(body, kContinuationForm, form);
  }
  if (needs_text && form.text.value_or("").empty()) refuse_field("text", "`text` is what the document goes on with.");
  const ContextId id = context_id(text_of_id);
  Reply<std::optional<Error>, ContextView> reply;
  derive(id, form.text.value_or(""), reply.callback());
  auto [error, view] = co_await reply.answer("the document's longer copy", kCopyTimeout);
  if (error) throw *error;
  co_return json_response(to_json(view, backends.cluster.model_name()), 202);
}

Handled append_to_context(const Backends& backends, Exchange& exchange, std::string id) {
  return continue_context(backends, exchange, std::move(id), true, [&](ContextId context, std::string text, auto done) {
    backends.contexts.append(context, std::move(text), std::move(done));
  });
}

Handled fork_context(const Backends& backends, Exchange& exchange, std::string id) {
  return continue_context(backends, exchange, std::move(id), false,
                          [&](ContextId context, std::string text, auto done) {
                            backends.contexts.fork(context, std::move(text), std::move(done));
                          });
}

// One event per change, the present view repeated where nothing changes, until the context rests for good.
class ContextEvents {
 public:
  ContextEvents(const Backends& backends, Exchange& exchange, ContextId id)
      : backends_(backends), id_(id), events_(exchange) {
    subscription_ = backends.contexts.subscribe(id, [this](const ContextEvent& event) {
      sequence_ = event.sequence;
      send(event.view);
    });
  }

  EventQueue& events() { return events_; }

  void repeat_when_silent() {
    if (events_.is_finished() || steady_clock::now() - sent_at_ < backends_.config.progress_interval) return;
    if (const auto view = backends_.contexts.find(id_)) return send(*view);
    events_.send(to_json(http_error(404, "not_found", "The context was deleted.")));
    events_.finish();
  }

 private:
  void send(const ContextView& view) {
    events_.send(to_json(view, backends_.cluster.model_name()), sequence_);
    sent_at_ = steady_clock::now();
    if (is_terminal(view.status)) events_.finish();
  }

  const Backends& backends_;
  const ContextId id_;
  EventQueue events_;
  std::uint64_t sequence_ = 0;
  steady_clock::time_point sent_at_ = steady_clock::now();
  std::shared_ptr<void> subscription_;  // last: no event comes once the rest goes
};

Handled follow_context(const Backends& backends, Exchange& exchange, std::string text) {
  const ContextId id = context_id(text);
  if (!backends.contexts.find(id)) no_context(text);
  co_await exchange.begin_stream("text/event-stream");
  ContextEvents context(backends, exchange, id);
  std::function<void()> on_tick = [&] { context.repeat_when_silent(); };
  co_await send_events(exchange, context.events(), backends.config.keep_alive_interval, std::move(on_tick));
  co_return std::nullopt;
}

}  // namespace

std::vector<Route> contexts_routes(const Backends& backends) {
  const auto bind = [&backends](auto handler) {
    return
        [&backends, handler](Exchange& exchange, std::string id) { return handler(backends, exchange, std::move(id)); };
  };
  const auto create = [&backends](Exchange& exchange, std::string) { return create_context(backends, exchange); };
  const auto estimate = [&backends](Exchange& exchange, std::string) { return estimate_context(backends, exchange); };
  const auto leave = [&backends](Exchange& exchange, std::string id) {
    return export_context(backends, exchange, context_id(id));
  };
  const auto come = [&backends](Exchange& exchange, std::string) { return import_context(backends, exchange); };
  const auto list = [&backends](Exchange& exchange, std::string) { return list_contexts(backends, exchange); };
  return {
      {.method = "POST", .pattern = "/v1/contexts", .handler = create, .is_work = true},
      {.method = "GET", .pattern = "/v1/contexts", .handler = list},
      {.method = "POST", .pattern = "/v1/contexts/estimate", .handler = estimate},
      {.method = "POST", .pattern = "/v1/contexts/import", .handler = come, .is_work = true},
      {.method = "GET", .pattern = "/v1/contexts/{id}/export", .handler = leave, .is_work = true},
      {.method = "GET", .pattern = "/v1/contexts/{id}", .handler = bind(show_context)},
      {.method = "DELETE", .pattern = "/v1/contexts/{id}", .handler = bind(erase_context)},
      {.method = "POST", .pattern = "/v1/contexts/{id}/cancel", .handler = bind(cancel_context)},
      {.method = "POST", .pattern = "/v1/contexts/{id}/pin", .handler = bind(pin_context)},
      {.method = "POST", .pattern = "/v1/contexts/{id}/verify", .handler = bind(verify_context)},
      {.method = "POST", .pattern = "/v1/contexts/{id}/search", .handler = bind(search_context), .is_work = true},
      {.method = "POST", .pattern = "/v1/contexts/{id}/append", .handler = bind(append_to_context), .is_work = true},
      {.method = "POST", .pattern = "/v1/contexts/{id}/fork", .handler = bind(fork_context), .is_work = true},
      {.method = "GET", .pattern = "/v1/contexts/{id}/events", .handler = bind(follow_context)},
  };
}

}  // namespace rotulus::coordinator::http
