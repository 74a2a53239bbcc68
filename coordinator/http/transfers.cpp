#include "coordinator/http/transfers.h"

#include <chrono>

#include "coordinator/http/awaiting.h"
#include "coordinator/http/context_form.h"
#include "coordinator/http/context_json.h"
#include "coordinator/http/request_form.h"
#include "protocol/limits.h"

namespace rotulus::coordinator::http {
namespace {

using protocol::Error;
using namespace std::chrono_literals;

constexpr auto kPieceTimeout = 120s;   // for one record of the file
constexpr auto kFinishTimeout = 600s;  // for the catalogue, with the token ids of a long document

constexpr Field<ImportRequest> kImportForm[] = {
    {"display_name", [](FieldValue v, ImportRequest& r) { r.display_name = v.text(protocol::kMaxDisplayNameBytes); }},
};

// Part of every answer that shows the context: it must be what it is taken for.
void check_metadata(const protocol::ContextDescription& description) {
  if (description.metadata_json.empty()) return;
  JsonValue metadata = parse_json(description.metadata_json);
  as_object(metadata);
}

awaitable<std::string> next_piece(ContextExport& file) {
  Reply<std::optional<Error>, std::string> reply;
  file.next(reply.callback());
  auto [error, piece] = co_await reply.answer("the workers", kPieceTimeout);
  if (error) throw *error;
  co_return std::move(piece);
}

}  // namespace

Handled export_context(const Backends& backends, Exchange& exchange, ContextId id) {
  const std::unique_ptr<ContextExport> file = backends.contexts.begin_export(id);
  std::string piece = co_await next_piece(*file);
  co_await exchange.begin_stream("application/octet-stream");
  while (!piece.empty()) {
    co_await exchange.write(piece);
    piece = co_await next_piece(*file);
  }
  co_return std::nullopt;
}

Handled import_context(const Backends& backends, Exchange& exchange) {
  JsonValue query = parse_query(exchange.request().query);
  ImportRequest request{.check = check_metadata};
  read_form(query, kImportForm, request);
  exchange.limit_body(protocol::kMaxContextFileBytes);
  const std::unique_ptr<ContextImport> file = backends.contexts.begin_import(std::move(request));
  while (true) {
    const std::string_view piece = co_await exchange.read_body();
    if (piece.empty()) break;
    Reply<std::optional<Error>> reply;
    file->take(piece, reply.callback());
    auto [error] = co_await reply.answer("the workers", kPieceTimeout);
    if (error) throw *error;
  }
  Reply<std::optional<Error>, ContextView> reply;
  file->finish(reply.callback());
  auto [error, view] = co_await reply.answer("the catalogue", kFinishTimeout);
  if (error) throw *error;
  HttpResponse response = json_response(to_json(view, backends.cluster.model_name()), 201);
  response.headers.emplace_back("Location", "/v1/contexts/" + protocol::to_string(view.id));
  co_return response;
}

}  // namespace rotulus::coordinator::http
