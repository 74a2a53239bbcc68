#include "coordinator/http/openai_answer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "coordinator/http/attention_form.h"
#include "coordinator/http/json_writer.h"

namespace rotulus::coordinator::http {
namespace {

using protocol::AnswerToken;

constexpr float kImpossible = -9999.0f;  // OpenAI's word for log 0, which JSON cannot say

void write_logprob(JsonWriter& json, float logprob) {
  json.value(std::isfinite(logprob) ? logprob : kImpossible);
}

std::size_t code_points(std::string_view text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

void write_chat_token(JsonWriter& json, std::string_view bytes, float logprob) {
  json.field("token", bytes).key("logprob");
  write_logprob(json, logprob);
  json.key("bytes").begin_array();
  for (const char byte : bytes) json.value(static_cast<unsigned>(static_cast<unsigned char>(byte)));
  json.end_array();
}

std::string chat_logprobs(const std::vector<AnswerToken>& tokens) {
  JsonWriter json;
  json.begin_object().key("content").begin_array();
  for (const AnswerToken& token : tokens) {
    json.begin_object();
    write_chat_token(json, token.bytes, token.logprob);
    json.key("top_logprobs").begin_array();
    for (const protocol::TokenAlternative& alternative : token.top) {
      json.begin_object();
      write_chat_token(json, alternative.bytes, alternative.logprob);
      json.end_object();
    }
    json.end_array().end_object();
  }
  json.end_array().field_or_null("refusal", "").end_object();
  return json.take();
}

// {text: logprob} of the alternatives, descending, and of the token itself. Of two that read alike the better stays.
void write_top(JsonWriter& json, const AnswerToken& token) {
  std::vector<std::pair<std::string, float>> seen;
  const auto see = [&](std::string_view bytes, float logprob) {
    std::string text = to_valid_utf8(bytes);
    const auto same = std::find_if(seen.begin(), seen.end(), [&](const auto& entry) { return entry.first == text; });
    if (same == seen.end()) {
      seen.emplace_back(std::move(text), logprob);
    } else {
      same->second = std::max(same->second, logprob);
    }
  };
  for (const protocol::TokenAlternative& alternative : token.top) see(alternative.bytes, alternative.logprob);
  see(token.bytes, token.logprob);
  json.begin_object();
  for (const auto& [text, logprob] : seen) {
    json.key(text);
    write_logprob(json, logprob);
  }
  json.end_object();
}

// The first of a prompt that is echoed, behind nothing.
bool is_unpredicted(const AnswerToken& token) {
  return token.is_of_question && token.index == 0;
}

std::string text_logprobs(const std::vector<AnswerToken>& tokens, std::size_t offset, bool has_alternatives) {
  JsonWriter json;
  json.begin_object().key("tokens").begin_array();
  for (const AnswerToken& token : tokens) json.value(token.bytes);
  json.end_array().key("token_logprobs").begin_array();
  for (const AnswerToken& token : tokens) {
    if (is_unpredicted(token)) {
      json.null();
    } else {
      write_logprob(json, token.logprob);
    }
  }
  json.end_array().key("top_logprobs");
  if (has_alternatives) {
    json.begin_array();
    for (const AnswerToken& token : tokens) {
      if (is_unpredicted(token)) {
        json.null();
      } else {
        write_top(json, token);
      }
    }
    json.end_array();
  } else {
    json.null();
  }
  json.key("text_offset").begin_array();
  for (const AnswerToken& token : tokens) {
    json.value(offset);
    offset += code_points(to_valid_utf8(token.bytes));
  }
  json.end_array().end_object();
  return json.take();
}

// As vLLM says it: for each token an object by ids of itself and its alternatives, null for the first. The rank of a
// token that is not among the alternatives asked for is not known.
std::string prompt_logprobs(const std::vector<AnswerToken>& tokens, std::size_t alternatives) {
  JsonWriter json;
  const auto write = [&](protocol::TokenId id, float logprob, std::optional<std::size_t> rank, std::string_view bytes) {
    json.key(fmt::format("{}", id)).begin_object().key("logprob");
    write_logprob(json, logprob);
    json.key("rank");
    rank ? json.value(*rank) : json.null();
    json.field("decoded_token", bytes).end_object();
  };
  json.begin_array();
  for (const AnswerToken& token : tokens) {
    if (is_unpredicted(token)) {
      json.null();
      continue;
    }
    const auto listed = std::min(alternatives, token.top.size());
    bool is_listed = false;
    json.begin_object();
    for (std::size_t i = 0; i < listed; ++i) {
      write(token.top[i].token, token.top[i].logprob, i + 1, token.top[i].bytes);
      is_listed |= token.top[i].token == token.token;
    }
    if (!is_listed) write(token.token, token.logprob, std::nullopt, token.bytes);
    json.end_object();
  }
  json.end_array();
  return json.take();
}

double per(double amount, double of) {
  return of > 0 ? amount / of : 0;
}

}  // namespace

OpenAiAnswer::OpenAiAnswer(const CompletionRequest& request)
    : kind_(request.kind),
      wants_logprobs_(request.wants_logprobs),
      includes_usage_(request.includes_usage),
      alternatives_(request.alternatives),
      prompt_alternatives_(request.prompt_logprobs),
      echoes_(request.echoes),
      reports_attention_(request.reports_attention),
      wants_provenance_(request.query.attention.wants_provenance) {}

void OpenAiAnswer::add(const AnswerToken& token) {
  if (token.is_of_question && prompt_alternatives_) prompt_tokens_.push_back(token);
  if (token.is_of_question && !echoes_) return;
  text_ += token.text;
  text_offset_ += code_points(to_valid_utf8(token.bytes));
  if (!wants_logprobs_) return;
  tokens_.push_back(token);
  if (token.top.size() > alternatives_) tokens_.back().top.resize(alternatives_);
}

void OpenAiAnswer::finish(const QueryResult& result) {
  text_ += result.rest_of_text;
  finish_reason_ = result.reason == protocol::FinishReason::stop ? "stop" : "length";
  result_ = result;
}

std::string OpenAiAnswer::logprobs_json(const std::vector<AnswerToken>& tokens, std::size_t offset) const {
  if (!wants_logprobs_) return "null";
  return is_chat() ? chat_logprobs(tokens) : text_logprobs(tokens, offset, alternatives_ > 0);
}

std::string OpenAiAnswer::usage_json() const {
  const QueryUsage& usage = result_.usage;
  JsonWriter json;
  json.begin_object();
  json.field("prompt_tokens", usage.prompt_tokens).field("completion_tokens", usage.completion_tokens);
  json.field("total_tokens", usage.prompt_tokens + usage.completion_tokens);
  json.key("prompt_tokens_details").begin_object().field("cached_tokens", usage.cached_tokens).end_object();
  json.end_object();
  return json.take();
}

std::string OpenAiAnswer::timings_json() const {
  const QueryUsage& usage = result_.usage;
  const QueryTimings& timings = result_.timings;
  const auto prompt = static_cast<double>(usage.prompt_tokens - std::min(usage.cached_tokens, usage.prompt_tokens));
  const auto predicted = static_cast<double>(usage.completion_tokens);
  JsonWriter json;
  json.begin_object();
  json.field("cache_n", usage.cached_tokens).field("prompt_n", static_cast<std::uint64_t>(prompt));
  json.field("prompt_ms", timings.prompt_ms).field("prompt_per_token_ms", per(timings.prompt_ms, prompt));
  json.field("prompt_per_second", per(prompt * 1000, timings.prompt_ms));
  json.field("predicted_n", usage.completion_tokens).field("predicted_ms", timings.predicted_ms);
  json.field("predicted_per_token_ms", per(timings.predicted_ms, predicted));
  json.field("predicted_per_second", per(predicted * 1000, timings.predicted_ms));
  json.field("queue_ms", timings.queue_ms).end_object();
  return json.take();
}

void OpenAiAnswer::write_attention(JsonWriter& json) const {
  if (reports_attention_ || result_.reread || result_.attention.mode == protocol::AttentionMode::retrieval) {
    json.key("attention");
    write_report(json, result_.attention, result_.reread);
  }
  if (wants_provenance_) {
    json.key("provenance");
    write_provenance(json, result_.provenance);
  }
}

void OpenAiAnswer::begin(JsonWriter& json, std::string_view object) const {
  json.begin_object();
  json.field("id", identity_.id).field("object", object).field("created", identity_.created_unix_s);
  json.field("model", identity_.model).field_or_null("system_fingerprint", identity_.system_fingerprint);
  if (identity_.numerics_changed) json.field("numerics_changed", true);
}

std::string OpenAiAnswer::whole() const {
  JsonWriter json;
  begin(json, is_chat() ? "chat.completion" : "text_completion");
  json.key("choices").begin_array().begin_object().field("index", 0);
  if (is_chat()) {
    json.key("message").begin_object().field("role", "assistant").field("content", text_).field_or_null("refusal", "");
    json.end_object();
  } else {
    json.field("text", text_);
  }
  json.key("logprobs").raw(logprobs_json(tokens_, 0)).field("finish_reason", finish_reason_);
  if (prompt_alternatives_) json.key("prompt_logprobs").raw(prompt_logprobs(prompt_tokens_, *prompt_alternatives_));
  json.end_object().end_array();
  json.key("usage").raw(usage_json()).key("timings").raw(timings_json());
  write_attention(json);
  json.end_object();
  return json.take();
}

// One chunk with one choice; `delta` is chat's, `text` the other's. "" for a logprobs or reason that is null.
std::string OpenAiAnswer::chunk(std::string_view text, std::string_view delta, std::string_view logprobs,
                                std::string_view finish_reason, const MoreFields& more) const {
  JsonWriter json;
  begin(json, is_chat() ? "chat.completion.chunk" : "text_completion");
  json.key("choices").begin_array().begin_object().field("index", 0);
  if (is_chat()) {
    json.key("delta").raw(delta);
  } else {
    json.field("text", text);
  }
  json.key("logprobs").raw(logprobs.empty() ? "null" : logprobs);
  json.field_or_null("finish_reason", finish_reason).end_object().end_array();
  if (includes_usage_) json.key("usage").null();
  if (more) more(json);
  json.end_object();
  return json.take();
}

std::string OpenAiAnswer::role_chunk() const {
  return chunk("", R"({"role":"assistant","content":""})", "", "", {});
}

std::string OpenAiAnswer::token_chunk(const AnswerToken& token) const {
  if (token.text.empty() && !wants_logprobs_) return "";
  JsonWriter delta;
  delta.begin_object().field("content", token.text).end_object();
  const std::string logprobs = wants_logprobs_ ? logprobs_json({token}, text_offset_) : "";
  return chunk(token.text, delta.take(), logprobs, "", {});
}

std::string OpenAiAnswer::text_chunk(std::string_view text) const {
  JsonWriter delta;
  delta.begin_object().field("content", text).end_object();
  return chunk(text, delta.take(), "", "", {});
}

std::string OpenAiAnswer::finish_chunk() const {
  return chunk("", "{}", "", finish_reason_, [this](JsonWriter& json) {
    json.key("timings").raw(timings_json());
    write_attention(json);
  });
}

std::string OpenAiAnswer::usage_chunk() const {
  JsonWriter json;
  begin(json, is_chat() ? "chat.completion.chunk" : "text_completion");
  json.key("choices").begin_array().end_array().key("usage").raw(usage_json()).end_object();
  return json.take();
}

std::string OpenAiAnswer::progress_chunk(std::uint64_t processed, std::uint64_t total, std::uint64_t cached,
                                         std::int64_t time_ms) const {
  return chunk("", "{}", "", "", [&](JsonWriter& json) {
    json.key("prompt_progress").begin_object();
    json.field("total", total).field("cache", cached).field("processed", processed);
    json.field("time_ms", time_ms).end_object();
  });
}

}  // namespace rotulus::coordinator::http
