#include "coordinator/http/attention_form.h"

#include "protocol/limits.h"

namespace rotulus::coordinator::http {
namespace {

using protocol::AttentionMode;

AttentionMode read_mode(FieldValue value) {
  const std::string mode = value.choice({"auto", "exact", "retrieval"});
  return mode == "exact"       ? AttentionMode::exact
         : mode == "retrieval" ? AttentionMode::retrieval
                               : AttentionMode::automatic;
}

constexpr Field<AttentionMode> kContextForm[] = {
    {"mode", [](FieldValue v, AttentionMode& mode) { mode = read_mode(v); }},
};

void set_mode(FieldValue value, AnswerAttention& attention) {
  attention.spec.mode = read_mode(value);
  attention.has_mode = true;
}

// The local window has a longest value too, half the model's window: known where the answer is planned.
constexpr std::int64_t kMaxLocalTokens = 1 << 30;
constexpr Field<AnswerAttention> kAnswerForm[] = {
    {"mode", set_mode},
    {"budget_tokens",
     [](FieldValue v, AnswerAttention& a) {
       a.spec.budget_tokens = static_cast<std::uint32_t>(
           v.multiple(protocol::kPageTokens, protocol::kPageTokens, protocol::kMaxBudgetTokens));
     }},
    {"local_tokens",
     [](FieldValue v, AnswerAttention& a) {
       a.spec.local_tokens =
           static_cast<std::uint32_t>(v.multiple(protocol::kBlockTokens, protocol::kBlockTokens, kMaxLocalTokens));
     }},
    {"second_pass", [](FieldValue v, AnswerAttention& a) { a.spec.second_pass = v.flag(); }},
    {"report", [](FieldValue v, AnswerAttention& a) { a.is_reported = v.flag(); }},
};

}  // namespace

std::string_view to_string(AttentionMode mode) {
  switch (mode) {
    case AttentionMode::automatic:
      return "auto";
    case AttentionMode::exact:
      return "exact";
    case AttentionMode::retrieval:
      return "retrieval";
  }
  return "unknown";
}

AttentionMode read_context_attention(FieldValue value) {
  if (value.json().get_if<std::string>()) return read_mode(value);
  AttentionMode mode = AttentionMode::automatic;
  JsonValue::Object members = value.object();
  read_form<AttentionMode>(members, kContextForm, mode);
  return mode;
}

void read_answer_attention(FieldValue value, AnswerAttention& attention) {
  if (value.json().get_if<std::string>()) return set_mode(value, attention);
  JsonValue::Object members = value.object();
  read_form<AnswerAttention>(members, kAnswerForm, attention);
}

void write_retrieval(JsonWriter& json, std::string_view mode, const protocol::RetrievalParameters& retrieval) {
  json.begin_object().field("mode", mode).field("landmark_version", retrieval.landmark_version);
  json.field("exact_tokens", retrieval.exact_tokens).field("local_tokens", retrieval.local_tokens).end_object();
}

std::string_view mode_of(const protocol::RetrievalParameters& retrieval) {
  return to_string(retrieval.landmark_version == 0 ? AttentionMode::exact : AttentionMode::retrieval);
}

void write_report(JsonWriter& json, const protocol::AttentionReport& report) {
  json.begin_object().field("mode", to_string(report.mode));
  json.field("context_tokens", report.context_tokens).field("attended_tokens", report.attended_tokens);
  json.field("second_pass", report.second_pass).field("pinned_pages", report.pinned_pages).end_object();
}

void write_token_range(JsonWriter& json, protocol::TokenRange range) {
  json.begin_array().value(range.begin).value(range.end).end_array();
}

void write_provenance(JsonWriter& json, const std::vector<Passage>& passages) {
  json.begin_array();
  for (const Passage& passage : passages) {
    json.begin_object().key("token_range");
    write_token_range(json, passage.range);
    json.field("mass", passage.mass).field("text", passage.text).end_object();
  }
  json.end_array();
}

}  // namespace rotulus::coordinator::http
