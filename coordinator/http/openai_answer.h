// The bytes of an answer in OpenAI's forms, whole and in chunks. Knows no socket.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "coordinator/http/openai_request.h"

namespace rotulus::coordinator::http {

class OpenAiAnswer final {
 public:
  struct Identity {
    std::string id;  // "chatcmpl-…", "cmpl-…"
    std::int64_t created_unix_s = 0;
    std::string model;
    std::string system_fingerprint;  // or empty
    bool numerics_changed = false;
  };

  explicit OpenAiAnswer(const CompletionRequest& request);

  // Who answers: once the query has started, for before the first worker group nobody knows the model. Comes before
  // everything below.
  void identify(Identity identity) { identity_ = std::move(identity); }

  // Tokens and the end, in order. What is added is in whole(), and in what the chunk functions are given.
  void add(const protocol::AnswerToken& token);
  void finish(const QueryResult& result);

  // The whole answer. Requires finish().
  std::string whole() const;

  // Chunks of a stream.
  std::string role_chunk() const;  // chat: the first
  std::string token_chunk(
      const protocol::AnswerToken& token) const;  // before add(token); "" where nothing is to be said
  std::string text_chunk(std::string_view text) const;
  std::string finish_chunk() const;
  std::string usage_chunk() const;
  std::string progress_chunk(std::uint64_t processed, std::uint64_t total, std::uint64_t cached,
                             std::int64_t time_ms) const;

 private:
  bool is_chat() const { return kind_ == CompletionKind::chat; }
  void begin(class JsonWriter& json, std::string_view object) const;
  using MoreFields = std::function<void(class JsonWriter&)>;  // of an object that is open
  std::string chunk(std::string_view text, std::string_view delta, std::string_view logprobs,
                    std::string_view finish_reason, const MoreFields& more) const;
  std::string logprobs_json(const std::vector<protocol::AnswerToken>& tokens, std::size_t offset) const;
  std::string usage_json() const;
  std::string timings_json() const;
  void write_attention(class JsonWriter& json) const;  // fields of an open object, where they were asked for

  const CompletionKind kind_;
  const bool wants_logprobs_;
  const bool includes_usage_;
  const std::uint32_t alternatives_;
  const std::optional<std::uint32_t> prompt_alternatives_;
  const bool echoes_;
  const bool reports_attention_;
  const bool wants_provenance_;
  Identity identity_;
  std::string text_;
  std::size_t text_offset_ = 0;                       // code points of the tokens added
  std::vector<protocol::AnswerToken> tokens_;         // kept where log-probabilities are asked for
  std::vector<protocol::AnswerToken> prompt_tokens_;  // likewise of the prompt
  std::string finish_reason_;
  QueryResult result_;
};

}  // namespace rotulus::coordinator::http
