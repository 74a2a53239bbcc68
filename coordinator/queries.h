// Answers: from a validated request to a stream of tokens, replayed unseen when a worker group dies under it.
//
// Threads: the event loop. A query keeps what its replay needs: object list (through its context), question ids,
// sampling, tokens so far.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "protocol/messages.h"

namespace rotulus::coordinator {

struct QueryRequest {
  std::optional<protocol::ContextId> context;
  // With a context: what follows its document. Without: the whole prompt.
  std::variant<std::string, std::vector<protocol::TokenId>, std::vector<protocol::ChatMessage>> prompt;
  protocol::SamplingSpec sampling;
  std::optional<std::uint32_t> max_tokens;  // absent: what is left of the window
  std::vector<std::string> stop;
  bool ignore_eos = false;
};

struct QueryUsage {
  std::uint64_t prompt_tokens = 0;
  std::uint64_t completion_tokens = 0;
  std::uint64_t cached_tokens = 0;  // of the prompt: read from a context that was there before
};

struct QueryTimings {
  double queue_ms = 0;
  double prompt_ms = 0;
  double predicted_ms = 0;
};

// What happens to a query, in this order: started?, (progress | token | waiting)*, then finished or failed, once.
struct QueryEvents {
  std::function<void(const QueryUsage&)> on_started;                              // admitted; prompt is counted
  std::function<void(std::uint64_t processed, std::uint64_t total)> on_progress;  // of a prompt without context
  std::function<void(const protocol::AnswerToken&)> on_token;
  std::function<void(const std::string& why)> on_waiting;  // every 5 s at most while a worker group is being replaced
  std::function<void(protocol::FinishReason, const std::string& rest_of_text, const QueryUsage&, const QueryTimings&)>
      on_finished;
  std::function<void(const protocol::Error&)> on_failed;
};

// Destroying it cancels the query, if it still runs; no event follows.
class Query {
 public:
  virtual ~Query() = default;
};

class Queries {
 public:
  virtual ~Queries() = default;
  // Never throws: what is wrong arrives as on_failed, also before on_started (not_found, conflict, context not
  // completed, context_length_exceeded with the numbers, too many waiting).
  virtual std::unique_ptr<Query> start(QueryRequest request, QueryEvents events) = 0;
};

}  // namespace rotulus::coordinator
