#include "coordinator/http/openai_request.h"

#include <fmt/format.h>

#include <limits>
#include <random>

#include "coordinator/http/attention_form.h"
#include "coordinator/http/request_form.h"
#include "protocol/limits.h"
#include "protocol/methods.h"

namespace rotulus::coordinator::http {
namespace {

using protocol::ChatMessage;

constexpr std::int64_t kMaxTokens = std::numeric_limits<std::int32_t>::max();
constexpr std::uint32_t kDefaultCompletionTokens = 16;  // of /v1/completions, as OpenAI has it

// What a form collects before its fields are judged together.
struct Form {
  CompletionRequest request;
  bool has_prompt = false;
  bool has_attention_mode = false;
  std::optional<std::int64_t> max_tokens;
  std::optional<std::int64_t> max_completion_tokens;
  std::optional<std::int64_t> seed;
  std::optional<bool> logprobs;              // chat
  std::optional<std::int64_t> top_logprobs;  // chat
  bool has_stream_options = false;
};

bool is_zero(const JsonValue& value) {
  const auto* integer = value.get_if<std::int64_t>();
  const auto* real = value.get_if<double>();
  return (integer && *integer == 0) || (real && *real == 0);
}

bool is_one(const JsonValue& value) {
  const auto* integer = value.get_if<std::int64_t>();
  const auto* real = value.get_if<double>();
  return (integer && *integer == 1) || (real && *real == 1);
}

bool is_false(const JsonValue& value) {
  const auto* flag = value.get_if<bool>();
  return flag && !*flag;
}

bool is_empty(const JsonValue& value) {
  const auto* array = value.get_if<JsonValue::Array>();
  const auto* object = value.get_if<JsonValue::Object>();
  const auto* text = value.get_if<std::string>();
  return (array && array->empty()) || (object && object->empty()) || (text && text->empty());
}

bool is_text(const JsonValue& value, std::initializer_list<std::string_view> choices) {
  const auto* text = value.get_if<std::string>();
  return text && std::find(choices.begin(), choices.end(), *text) != choices.end();
}

bool is_text_format(const JsonValue& value) {
  const auto* object = value.get_if<JsonValue::Object>();
  return object && object->size() == 1 && object->front().key == "type" && is_text(object->front().value, {"text"});
}

void zero_only(FieldValue v, Form&) {
  v.neutral(is_zero(v.json()), "0");
}
void one_only(FieldValue v, Form&) {
  v.neutral(is_one(v.json()), "1");
}
void false_only(FieldValue v, Form&) {
  v.neutral(is_false(v.json()), "false");
}
void empty_only(FieldValue v, Form&) {
  v.neutral(is_empty(v.json()), "an empty one");
}
void any_text(FieldValue v, Form&) {
  v.text();
}
void any_flag(FieldValue v, Form&) {
  v.flag();
}

void read_context_id(FieldValue v, Form& f) {
  const std::string text = v.text();
  f.request.query.context = protocol::parse_context_id(text);
  if (!f.request.query.context) {
    throw protocol::Error(protocol::ErrorCode::not_found, fmt::format("There is no context {}.", describe({text})),
                          "context_id");
  }
}

std::string read_stop_string(FieldValue v, const JsonValue& value) {
  const auto* text = value.get_if<std::string>();
  if (!text || text->empty() || text->size() > protocol::kMaxStopStringBytes) {
    refuse_field(v.name(), fmt::format("Each string of `stop` must have 1 to {} bytes; one is {}.",
                                       protocol::kMaxStopStringBytes, describe(value)));
  }
  return *text;
}

void read_stop(FieldValue v, Form& f) {
  if (v.json().get_if<std::string>()) {
    f.request.query.stop = {read_stop_string(v, v.json())};
    return;
  }
  const JsonValue::Array strings = v.array("strings, or one string");
  if (strings.size() > protocol::kMaxStopStrings) {
    refuse_field(v.name(),
                 fmt::format("`stop` has {} strings; {} are the most.", strings.size(), protocol::kMaxStopStrings));
  }
  for (const JsonValue& string : strings) f.request.query.stop.push_back(read_stop_string(v, string));
}

struct StreamOptions {
  bool include_usage = false;
};
constexpr Field<StreamOptions> kStreamOptions[] = {
    {"include_usage", [](FieldValue v, StreamOptions& o) { o.include_usage = v.flag(); }},
    {"include_obfuscation", [](FieldValue v, StreamOptions&) { v.neutral(is_false(v.json()), "false"); }},
};

void read_stream_options(FieldValue v, Form& f) {
  StreamOptions options;
  JsonValue::Object members = v.object();
  read_form<StreamOptions>(members, kStreamOptions, options);
  f.request.includes_usage = options.include_usage;
  f.has_stream_options = true;
}

void read_messages_field(FieldValue v, Form& f) {
  f.request.query.prompt = read_messages(std::move(v.json()), v.name());
  f.has_prompt = true;
}

// A string, an array of token ids, or an array that holds one string.
void read_prompt(FieldValue v, Form& f) {
  f.has_prompt = true;
  if (v.json().get_if<JsonValue::Integers>()) {
    f.request.query.prompt = v.token_ids();
    return;
  }
  auto* array = v.json().get_if<JsonValue::Array>();
  if (array && array->size() == 1 && array->front().get_if<std::string>()) {
    f.request.query.prompt = std::move(*array->front().get_if<std::string>());
    return;
  }
  if (!v.json().get_if<std::string>()) {
    refuse_field(v.name(), fmt::format("`prompt` must be one string or one array of token ids, not {}; several prompts "
                                       "are several requests.",
                                       describe(v.json())));
  }
  f.request.query.prompt = v.text();
}

void read_attention(FieldValue v, Form& f) {
  AnswerAttention attention{.spec = f.request.query.attention};
  read_answer_attention(v, attention);
  f.request.query.attention = attention.spec;
  f.has_attention_mode = attention.has_mode;
  f.request.reports_attention = attention.is_reported;
}

using SharedFields = std::vector<Field<Form>>;

// What both kinds of request take.
SharedFields shared_fields() {
  return {
      {"model", any_text},
      // A variable that was never set must not ask another question than the one meant.
      {.name = "context_id", .read = read_context_id, .reads_null = true},
      {"context_ids",
       [](FieldValue v, Form&) {
         refuse_field(v.name(),
                      "`context_ids` (several documents in one question) is not built yet; give one `context_id`.");
       }},
      {"max_tokens", [](FieldValue v, Form& f) { f.max_tokens = v.integer(0, kMaxTokens); }},
      {"max_completion_tokens", [](FieldValue v, Form& f) { f.max_completion_tokens = v.integer(0, kMaxTokens); }},
      {"temperature",
       [](FieldValue v, Form& f) { f.request.query.sampling.temperature = static_cast<float>(v.number(0, 2)); }},
      {"top_p", [](FieldValue v, Form& f) { f.request.query.sampling.top_p = static_cast<float>(v.number(0, 1)); }},
      {"top_k",  // -1 is vLLM's word for all
       [](FieldValue v, Form& f) {
         f.request.query.sampling.top_k =
             static_cast<std::uint32_t>(std::max<std::int64_t>(0, v.integer(-1, kMaxTokens)));
       }},
      {"min_p", [](FieldValue v, Form& f) { f.request.query.sampling.min_p = static_cast<float>(v.number(0, 1)); }},
      {"seed",
       [](FieldValue v, Form& f) {
         f.seed = v.integer(std::numeric_limits<std::int64_t>::min(), std::numeric_limits<std::int64_t>::max());
       }},
      {"stop", read_stop},
      {"stream", [](FieldValue v, Form& f) { f.request.is_streamed = v.flag(); }},
      {"stream_options", read_stream_options},
      {"ignore_eos", [](FieldValue v, Form& f) { f.request.query.ignore_eos = v.flag(); }},
      {"attention", read_attention},
      {"return_provenance", [](FieldValue v, Form& f) { f.request.query.attention.wants_provenance = v.flag(); }},
      {"return_progress", [](FieldValue v, Form& f) { f.request.reports_progress = v.flag(); }},
      {"user", any_text},
      {"n", [](FieldValue v, Form&) { v.integer(1, 1); }},
      {"frequency_penalty", zero_only},
      {"presence_penalty", zero_only},
      {"repetition_penalty", one_only},
      {"repeat_penalty", one_only},
      {"logit_bias", empty_only},
      {"min_tokens", zero_only},
      {"prompt_logprobs",
       [](FieldValue v, Form& f) {
         f.request.prompt_logprobs = static_cast<std::uint32_t>(v.integer(0, protocol::kMaxLogprobs));
       }},
  };
}

SharedFields chat_fields() {
  SharedFields fields = shared_fields();
  const SharedFields own = {
      {"messages", read_messages_field},
      {"logprobs", [](FieldValue v, Form& f) { f.logprobs = v.flag(); }},
      {"top_logprobs", [](FieldValue v, Form& f) { f.top_logprobs = v.integer(0, protocol::kMaxLogprobs); }},
      {"tools", empty_only},
      {"functions", empty_only},
      {"tool_choice",
       [](FieldValue v, Form&) {
         v.neutral(is_text(v.json(), {"none", "auto"}), "\"none\"");
       }},
      {"function_call",
       [](FieldValue v, Form&) {
         v.neutral(is_text(v.json(), {"none", "auto"}), "\"none\"");
       }},
      {"parallel_tool_calls", any_flag},
      {"response_format", [](FieldValue v, Form&) { v.neutral(is_text_format(v.json()), "{\"type\":\"text\"}"); }},
      {"modalities",
       [](FieldValue v, Form&) {
         const auto* array = v.json().get_if<JsonValue::Array>();
         v.neutral(array && array->size() == 1 && is_text(array->front(), {"text"}), "[\"text\"]");
       }},
      {"service_tier",
       [](FieldValue v, Form&) {
         v.neutral(is_text(v.json(), {"auto", "default"}), "\"auto\"");
       }},
      {"store", false_only},
      {"metadata", [](FieldValue v, Form&) { v.object(); }},
      {"prompt_cache_key", any_text},
      {"safety_identifier", any_text},
  };
  fields.insert(fields.end(), own.begin(), own.end());
  return fields;
}

SharedFields text_fields() {
  SharedFields fields = shared_fields();
  const SharedFields own = {
      {"prompt", read_prompt},
      {"logprobs",
       [](FieldValue v, Form& f) {
         f.request.alternatives = static_cast<std::uint32_t>(v.integer(0, protocol::kMaxLogprobs));
         f.request.wants_logprobs = true;
       }},
      {"echo", [](FieldValue v, Form& f) { f.request.echoes = v.flag(); }},
      {"suffix", empty_only},
      {"best_of", one_only},
  };
  fields.insert(fields.end(), own.begin(), own.end());
  return fields;
}

void settle_tokens(Form& form) {
  if (form.max_tokens && form.max_completion_tokens && *form.max_tokens != *form.max_completion_tokens) {
    refuse_field("max_tokens",
                 "`max_tokens` and `max_completion_tokens` are two names of one thing; give one of them.");
  }
  const auto given = form.max_completion_tokens ? form.max_completion_tokens : form.max_tokens;
  if (given == 0 && !form.request.query.scores_prompt) {
    const std::string_view field = form.max_completion_tokens ? "max_completion_tokens" : "max_tokens";
    refuse_field(field,
                 fmt::format("`{}` must be at least 1; 0 asks for nothing but an `echo` or `prompt_logprobs`.", field));
  }
  if (given) form.request.query.max_tokens = static_cast<std::uint32_t>(*given);
  if (!given && form.request.kind == CompletionKind::text) form.request.query.max_tokens = kDefaultCompletionTokens;
}

void settle_logprobs(Form& form) {
  if (form.top_logprobs && !form.logprobs.value_or(false)) {
    refuse_field("top_logprobs", "`top_logprobs` needs `logprobs`: true.");
  }
  CompletionRequest& request = form.request;
  if (form.logprobs.value_or(false)) {
    request.wants_logprobs = true;
    request.alternatives = static_cast<std::uint32_t>(form.top_logprobs.value_or(0));
  }
  request.query.sampling.logprobs = std::max(request.alternatives, request.prompt_logprobs.value_or(0));
  if (request.prompt_logprobs && request.is_streamed) {
    refuse_field("prompt_logprobs", "`prompt_logprobs` come with a whole answer only: leave out `stream`.");
  }
}

// A prompt that came whole is read whole, unless the request itself allows otherwise: users of other servers expect an
// error where it does not fit, and must not get an answer that has read parts of it.
void settle_attention(Form& form) {
  QueryRequest& query = form.request.query;
  if (!query.context && !form.has_attention_mode) query.attention.mode = protocol::AttentionMode::exact;
}

void check_prompt(const Form& form) {
  const QueryRequest& query = form.request.query;
  if (!form.has_prompt) {
    const std::string_view field = form.request.kind == CompletionKind::chat ? "messages" : "prompt";
    refuse_field(field, fmt::format("`{}` is missing: it is what the model is to answer.", field));
  }
  const auto* text = std::get_if<std::string>(&query.prompt);
  const auto* ids = std::get_if<std::vector<protocol::TokenId>>(&query.prompt);
  if (!query.context && ((text && text->empty()) || (ids && ids->empty()))) {
    refuse_field("prompt", "`prompt` is empty; without `context_id` there is nothing to go on from.");
  }
  const auto* messages = std::get_if<std::vector<ChatMessage>>(&query.prompt);
  if (!query.context || !messages) return;
  for (const ChatMessage& message : *messages) {
    if (message.role != "system") continue;
    refuse_field("messages",
                 "A system message belongs to the context: give it as `system` when the context is created. "
                 "Behind a document only user and assistant messages have a place.");
  }
}

struct MessageForm {
  ChatMessage message;
  bool has_role = false;
  bool has_content = false;
};

struct PartForm {
  std::string type;
  std::optional<std::string> text;
};
constexpr Field<PartForm> kPartForm[] = {
    {"type", [](FieldValue v, PartForm& f) { f.type = v.choice({"text"}); }},
    {"text", [](FieldValue v, PartForm& f) { f.text = v.text(); }},
};

void read_content(FieldValue v, MessageForm& f) {
  f.has_content = true;
  if (v.json().get_if<std::string>()) {
    f.message.content = v.text();
    return;
  }
  for (JsonValue& part : v.array("text parts, or a string")) {
    PartForm form;
    read_form(part, kPartForm, form);
    if (form.type.empty() || !form.text)
      refuse_field("content", "A part of `content` must be {\"type\":\"text\",\"text\":…}.");
    f.message.content += *form.text;
  }
}

void read_role(FieldValue v, MessageForm& f) {
  f.message.role = v.choice({"system", "developer", "user", "assistant"});
  if (f.message.role == "developer") f.message.role = "system";
  f.has_role = true;
}

// What openai-python sends back of an assistant's message is taken where it says nothing.
constexpr auto kEmptyPart = [](FieldValue v, MessageForm&) { v.neutral(is_empty(v.json()), "null"); };
constexpr Field<MessageForm> kMessageForm[] = {
    {"role", read_role},         {"content", read_content},     {"name", kEmptyPart},  {"refusal", kEmptyPart},
    {"annotations", kEmptyPart}, {"function_call", kEmptyPart}, {"audio", kEmptyPart}, {"tool_calls", kEmptyPart},
};

}  // namespace

std::vector<ChatMessage> read_messages(JsonValue value, std::string_view field) {
  JsonValue::Array array = FieldValue(field, value).array("messages");
  if (array.empty()) refuse_field(field, fmt::format("`{}` is empty: it must hold at least one message.", field));
  std::vector<ChatMessage> messages;
  for (std::size_t i = 0; i < array.size(); ++i) {
    const std::string place = fmt::format("{}[{}]", field, i);
    auto* members = array[i].get_if<JsonValue::Object>();
    if (!members)
      refuse_field(place,
                   fmt::format("`{}` must be an object with `role` and `content`, not {}.", place, describe(array[i])));
    MessageForm form;
    read_form<MessageForm>(*members, kMessageForm, form);
    if (!form.has_role || !form.has_content) {
      refuse_field(place, fmt::format("`{}` needs both `role` and `content`.", place));
    }
    messages.push_back(std::move(form.message));
  }
  return messages;
}

CompletionRequest read_completion_request(CompletionKind kind, JsonValue body) {
  Form form;
  form.request.kind = kind;
  form.request.query.attention = protocol::default_attention();
  const SharedFields fields = kind == CompletionKind::chat ? chat_fields() : text_fields();
  read_form<Form>(as_object(body), fields, form);
  form.request.query.scores_prompt = form.request.echoes || form.request.prompt_logprobs;
  settle_tokens(form);
  settle_logprobs(form);
  settle_attention(form);
  check_prompt(form);
  if (form.has_stream_options && !form.request.is_streamed) {
    refuse_field("stream_options", "`stream_options` needs `stream`: true.");
  }
  form.request.query.sampling.seed = form.seed ? static_cast<std::uint64_t>(*form.seed)
                                               : (std::uint64_t{std::random_device{}()} << 32) | std::random_device{}();
  return std::move(form.request);
}

}  // namespace rotulus::coordinator::http
