#include "coordinator/http/errors.h"

#include "coordinator/http/json_writer.h"

namespace rotulus::coordinator::http {
namespace {

using protocol::ErrorCode;

unsigned status_of(ErrorCode code) {
  switch (code) {
    case ErrorCode::invalid_argument:
    case ErrorCode::context_length_exceeded:
    case ErrorCode::unsupported:
      return 400;
    case ErrorCode::unauthorized:
      return 401;
    case ErrorCode::not_found:
      return 404;
    case ErrorCode::conflict:
      return 409;
    case ErrorCode::payload_too_large:
      return 413;
    case ErrorCode::unavailable:
      return 503;
    case ErrorCode::deadline_exceeded:
      return 504;
    case ErrorCode::storage_full:
      return 507;
    default:
      return 500;
  }
}

std::string_view type_of(unsigned status) {
  if (status == 401) return "authentication_error";
  if (status == 403) return "permission_error";
  if (status == 503) return "unavailable_error";
  return status >= 500 ? "server_error" : "invalid_request_error";
}

}  // namespace

ApiError to_api_error(const protocol::Error& error) {
  const unsigned status = status_of(error.code());
  return {.status = status,
          .type = std::string(type_of(status)),
          .code = std::string(to_string(error.code())),
          .message = error.message(),
          .param = error.param()};
}

ApiError http_error(unsigned status, std::string_view code, std::string message) {
  return {.status = status,
          .type = std::string(type_of(status)),
          .code = std::string(code),
          .message = std::move(message),
          .param = {}};
}

std::string to_json(const ApiError& error) {
  JsonWriter json;
  json.begin_object().key("error").begin_object();
  json.field("message", error.message).field("type", error.type);
  json.key("param");
  if (error.param.empty()) {
    json.null();
  } else {
    json.value(error.param);
  }
  json.field("code", error.code);
  if (error.n_prompt_tokens) json.field("n_prompt_tokens", *error.n_prompt_tokens);
  if (error.n_ctx) json.field("n_ctx", *error.n_ctx);
  json.end_object().end_object();
  return json.take();
}

bool is_retryable(const ApiError& error) {
  return error.status == 408 || error.status == 429 || error.status == 503 || error.status == 504;
}

}  // namespace rotulus::coordinator::http
