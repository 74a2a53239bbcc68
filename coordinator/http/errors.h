// What a client sees when a request fails: one OpenAI error object, and the status it travels under.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "protocol/error.h"

namespace rotulus::coordinator::http {

struct ApiError {
  unsigned status = 500;
  std::string type;  // "invalid_request_error", "authentication_error", "server_error" …
  std::string code;  // a word that programs can compare
  std::string message;
  std::string param;                             // the request field at fault, or empty
  std::optional<std::uint64_t> n_prompt_tokens;  // context_length_exceeded: of the prompt, if they were counted
  std::optional<std::uint64_t> n_ctx;            // and the window
};

// The status and the words for an error of the rooms below.
ApiError to_api_error(const protocol::Error& error);

// An error of HTTP itself, which the rooms below know nothing of. `code` e.g. "method_not_allowed".
ApiError http_error(unsigned status, std::string_view code, std::string message);

// {"error":{"message","type","param","code"}}
std::string to_json(const ApiError& error);

// Whether sending the same request again can help. openai-python retries 408, 409, 429 and >= 500 unless told.
bool is_retryable(const ApiError& error);

}  // namespace rotulus::coordinator::http
