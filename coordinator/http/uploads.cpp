#include "coordinator/http/uploads.h"

#include <chrono>
#include <filesystem>

#include "coordinator/http/awaiting.h"
#include "coordinator/http/context_form.h"
#include "coordinator/http/context_json.h"
#include "protocol/limits.h"

namespace rotulus::coordinator::http {
namespace {

using protocol::Error;
using protocol::TokenId;
using namespace std::chrono_literals;

constexpr auto kCreateTimeout = 120s;

std::string_view as_bytes(std::span<const TokenId> ids) {
  return {reinterpret_cast<const char*>(ids.data()), ids.size_bytes()};
}

awaitable<SpooledDocument> spool_whole(const Backends& backends, SpoolKind kind, std::string_view bytes) {
  SpooledDocument document;
  std::function<void()> work = [&] {
    SpoolWriter writer(backends.config.spool_directory, kind);
    writer.append(bytes);
    document = writer.finish();
  };
  co_await run_on(backends.file_pool, std::move(work));
  co_return document;
}

awaitable<SpooledDocument> spool_body(const Backends& backends, Exchange& exchange, SpoolKind kind) {
  exchange.limit_body(protocol::kMaxDocumentBytes);
  std::optional<SpoolWriter> writer;
  std::function<void()> open = [&] { writer.emplace(backends.config.spool_directory, kind); };
  IdChecker ids(backends.cluster.view().model);
  bool is_open = false;
  while (true) {
    const std::string_view piece = co_await exchange.read_body();
    if (piece.empty()) break;
    if (kind == SpoolKind::token_ids) ids.write(piece);
    if (!is_open) co_await run_on(backends.file_pool, open);
    is_open = true;
    std::function<void()> append = [&] { writer->append(piece); };
    co_await run_on(backends.file_pool, std::move(append));
  }
  if (!is_open) refuse_field("", "The body is empty: it must be the document.");
  if (kind == SpoolKind::token_ids) ids.finish();
  SpooledDocument document;
  std::function<void()> finish = [&] { document = writer->finish(); };
  co_await run_on(backends.file_pool, std::move(finish));
  co_return document;
}

awaitable<NewContext> receive_json(const Backends& backends, Exchange& exchange) {
  ContextForm form = co_await read_context_json(exchange, context_fields());
  if (form.text.has_value() == form.input_ids.has_value()) {
    refuse_field("text", "Give the document as exactly one of `text` and `input_ids`.");
  }
  const std::string_view bytes = form.text ? std::string_view(*form.text) : as_bytes(*form.input_ids);
  if (bytes.empty()) refuse_field(form.text ? "text" : "input_ids", "The document is empty.");
  if (form.input_ids) check_ids(*form.input_ids, 0, backends.cluster.view().model);
  NewContext context;
  context.document = co_await spool_whole(backends, form.text ? SpoolKind::text : SpoolKind::token_ids, bytes);
  context.description = std::move(form.description);
  context.ttl = form.ttl;
  co_return context;
}

awaitable<NewContext> receive_document(const Backends& backends, Exchange& exchange, SpoolKind kind) {
  ContextForm form = read_context_query(exchange.request().query, context_fields());
  NewContext context;
  context.document = co_await spool_body(backends, exchange, kind);
  context.description = std::move(form.description);
  context.ttl = form.ttl;
  co_return context;
}

}  // namespace

Handled create_context(const Backends& backends, Exchange& exchange) {
  const auto body = document_body(exchange.request());
  if (!body) co_return unsupported_document();
  NewContext context;
  if (*body == DocumentBody::json) {
    context = co_await receive_json(backends, exchange);
  } else {
    const SpoolKind kind = *body == DocumentBody::text ? SpoolKind::text : SpoolKind::token_ids;
    context = co_await receive_document(backends, exchange, kind);
  }
  const std::filesystem::path spooled = context.document.path;
  Reply<std::optional<Error>, ContextView> reply;
  backends.contexts.create(std::move(context), reply.callback());
  auto [error, view] = co_await reply.answer("the catalogue", kCreateTimeout);
  if (error) {
    std::function<void()> remove = [&] {
      std::error_code ignored;
      std::filesystem::remove(spooled, ignored);
    };
    co_await run_on(backends.file_pool, std::move(remove));
    throw *error;
  }
  HttpResponse response = json_response(to_json(view, backends.cluster.model_name()), 202);
  response.headers.emplace_back("Location", "/v1/contexts/" + protocol::to_string(view.id));
  co_return response;
}

}  // namespace rotulus::coordinator::http
