// Answers: from a validated request to a stream of tokens, replayed unseen when a worker group dies under it.
//
// Threads: the event loop. A query keeps what its replay needs: object list (through its context), question ids,
// sampling, attention, tokens so far.
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
  protocol::AttentionSpec attention;
  bool scores_prompt = false;  // its tokens are told before the answer's, with how likely each was: of what follows the
                               // document, or the whole prompt. Then max_tokens may be 0
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

// A part of the context that the answer's attention read, and the text there.
struct Passage {
  protocol::TokenRange range;
  float mass = 0;
  std::string text;
};

// What was read again (reread.h).
struct Reread {
  std::vector<protocol::TokenRange> ranges;  // of the context, ascending
  std::uint64_t computed_tokens = 0;         // of those, computed for this answer
};

struct QueryResult {
  protocol::FinishReason reason = protocol::FinishReason::stop;
  std::string rest_of_text;
  QueryUsage usage;
  QueryTimings timings;
  protocol::AttentionReport attention;
  std::vector<Passage> provenance;  // best first; where the request's attention wants it
  std::optional<Reread> reread;     // where it asks for it, under retrieval
};

struct QueryFailure {
  protocol::Error error;
  std::uint64_t prompt_tokens = 0;  // of context and question; 0 where they were not counted
};

// What happens to a query, in this order: started?, (progress | token | waiting)*, then finished or failed, once.
// One that is empty is not told.
struct QueryEvents {
  std::function<void(const QueryUsage&)> on_started;                              // admitted; prompt is counted
  std::function<void(std::uint64_t processed, std::uint64_t total)> on_progress;  // of a prompt without context
  std::function<void(const protocol::AnswerToken&)> on_token;  // of a prompt that is scored, then of the answer
  std::function<void(const std::string& why)> on_waiting;  // every 5 s at most while a worker group is being replaced
  std::function<void(const QueryResult&)> on_finished;
  std::function<void(const QueryFailure&)> on_failed;
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
  // completed, without the landmarks that it asks for, context_length_exceeded with the numbers, too many waiting).
  virtual std::unique_ptr<Query> start(QueryRequest request, QueryEvents events) = 0;
};

}  // namespace rotulus::coordinator
