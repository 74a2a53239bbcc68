#include "coordinator/http/backends.h"

#include "protocol/limits.h"

namespace rotulus::coordinator::http {

awaitable<JsonValue> read_json_body(Exchange& exchange) {
  exchange.limit_body(protocol::kMaxJsonBodyBytes);
  JsonParser parser;
  while (true) {
    const std::string_view piece = co_await exchange.read_body();
    if (piece.empty()) break;
    parser.write(piece);
  }
  co_return parser.finish();
}

ApiError to_api_error(const QueryFailure& failure, const Cluster& cluster) {
  ApiError api_error = to_api_error(failure.error);
  if (failure.error.code() == protocol::ErrorCode::context_length_exceeded) {
    if (failure.prompt_tokens > 0) api_error.n_prompt_tokens = failure.prompt_tokens;
    if (const ClusterView view = cluster.view(); view.model) api_error.n_ctx = view.model->context_length;
  }
  return api_error;
}

}  // namespace rotulus::coordinator::http
