// A completion request as OpenAI's clients send it, validated. Every field of theirs is either done, or refused by
// name unless it asks for nothing; nothing is ignored in silence but what cannot change an answer (`user`, `store` …).
#pragma once

#include <optional>
#include <string>

#include "coordinator/http/json_reader.h"
#include "coordinator/queries.h"

namespace rotulus::coordinator::http {

enum class CompletionKind : std::uint8_t { chat, text };

struct CompletionRequest {
  CompletionKind kind = CompletionKind::chat;
  QueryRequest query;
  bool is_streamed = false;
  bool includes_usage = false;    // stream_options.include_usage
  bool reports_progress = false;  // return_progress
  bool wants_logprobs = false;
  std::uint32_t alternatives = 0;                // to list beside each token of the answer
  std::optional<std::uint32_t> prompt_logprobs;  // vLLM's: alternatives to list beside each token of the prompt
  bool echoes = false;                           // the prompt is the beginning of the answer
  bool reports_attention = false;                // attention.report
};

// Throws Error{invalid_argument}, and {not_found} for a context id that none can have. Draws a seed where none is
// given.
CompletionRequest read_completion_request(CompletionKind kind, JsonValue body);

// [{"role", "content"}]; `field` is named in errors. Roles system (alias developer), user, assistant.
std::vector<protocol::ChatMessage> read_messages(JsonValue value, std::string_view field);

}  // namespace rotulus::coordinator::http
