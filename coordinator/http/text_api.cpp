// What the model's vocabulary says of a text: /tokenize, /detokenize, /apply-template, as vLLM and llama.cpp name them.
#include <fmt/format.h>

#include <chrono>

#include "coordinator/http/awaiting.h"
#include "coordinator/http/backends.h"
#include "coordinator/http/json_writer.h"
#include "coordinator/http/openai_request.h"
#include "coordinator/http/request_form.h"
#include "protocol/limits.h"

namespace rotulus::coordinator::http {
namespace {

using protocol::ChatMessage;
using protocol::EncodeText;
using protocol::Error;
using protocol::TokenId;
using namespace std::chrono_literals;

constexpr auto kTextTimeout = 30s;
constexpr std::size_t kMaxDetokenizeIds = protocol::kTokenIdsPerMessage;

using Ids = std::vector<TokenId>;
using MaybeError = std::optional<Error>;

struct TokenizeForm {
  std::optional<std::string> text;
  std::optional<std::vector<ChatMessage>> messages;
  std::optional<bool> adds_special;
  bool parses_special = false;
  bool has_prompt = false;     // vLLM's field: special tokens are added unless said otherwise
  bool has_content = false;    // llama.cpp's: they are not
  bool wants_pieces = false;   // llama.cpp: [{"id", "piece"}]
  bool wants_strings = false;  // vLLM: "token_strs"
};

constexpr Field<TokenizeForm> kTokenizeForm[] = {
    {"prompt",
     [](FieldValue v, TokenizeForm& f) {
       f.text = v.text(protocol::kMaxTokenizeBytes);
       f.has_prompt = true;
     }},
    {"content",
     [](FieldValue v, TokenizeForm& f) {
       f.text = v.text(protocol::kMaxTokenizeBytes);
       f.has_content = true;
     }},
    {"messages", [](FieldValue v, TokenizeForm& f) { f.messages = read_messages(std::move(v.json()), v.name()); }},
    {"add_special_tokens", [](FieldValue v, TokenizeForm& f) { f.adds_special = v.flag(); }},
    {"add_special", [](FieldValue v, TokenizeForm& f) { f.adds_special = v.flag(); }},
    {"parse_special", [](FieldValue v, TokenizeForm& f) { f.parses_special = v.flag(); }},
    {"with_pieces", [](FieldValue v, TokenizeForm& f) { f.wants_pieces = v.flag(); }},
    {"return_token_strs", [](FieldValue v, TokenizeForm& f) { f.wants_strings = v.flag(); }},
    {"model", [](FieldValue v, TokenizeForm&) { v.text(); }},
};

void check_message_bytes(const std::vector<ChatMessage>& messages) {
  std::size_t bytes = 0;
  for (const ChatMessage& message : messages) bytes += message.content.size();
  if (bytes <= protocol::kMaxTokenizeBytes) return;
  refuse_field("messages",
               fmt::format("`messages` hold {} bytes; {} are the most here. Longer ones belong into a context.", bytes,
                           protocol::kMaxTokenizeBytes));
}

EncodeText to_encode_request(TokenizeForm form) {
  if (form.has_prompt + form.has_content + form.messages.has_value() != 1) {
    refuse_field("prompt", "Give exactly one of `prompt`, `content` and `messages`.");
  }
  const bool adds_special = form.adds_special.value_or(form.has_prompt);
  if (form.parses_special && (form.messages || adds_special)) {
    refuse_field("parse_special", "`parse_special` goes with a text to which no special tokens are added.");
  }
  EncodeText request;
  if (form.messages) {
    check_message_bytes(*form.messages);
    request.kind = EncodeText::Kind::conversation;
    request.messages = std::move(*form.messages);
    return request;
  }
  request.kind = adds_special          ? EncodeText::Kind::prompt
                 : form.parses_special ? EncodeText::Kind::text_with_special
                                       : EncodeText::Kind::text;
  request.text = std::move(*form.text);
  return request;
}

// A piece as llama.cpp shows it: a string, or its bytes where it is not a whole character.
void write_piece(JsonWriter& json, std::string_view piece) {
  if (to_valid_utf8(piece) == piece) {
    json.value(piece);
    return;
  }
  json.begin_array();
  for (const char byte : piece) json.value(static_cast<unsigned>(static_cast<unsigned char>(byte)));
  json.end_array();
}

std::string tokens_json(const Ids& ids, const std::vector<std::string>& pieces, const TokenizeForm& form,
                        const ClusterView& cluster) {
  JsonWriter json;
  json.begin_object().field("count", ids.size());
  json.field("max_model_len", cluster.model ? cluster.model->context_length : 0);
  json.key("tokens").begin_array();
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (!form.wants_pieces) {
      json.value(ids[i]);
      continue;
    }
    json.begin_object().field("id", ids[i]).key("piece");
    write_piece(json, pieces.at(i));
    json.end_object();
  }
  json.end_array();
  if (form.wants_strings) {
    json.key("token_strs").begin_array();
    for (const std::string& piece : pieces) json.value(piece);
    json.end_array();
  }
  json.end_object();
  return json.take();
}

Handled tokenize(const Backends& backends, Exchange& exchange) {
  JsonValue body = co_await read_json_body(exchange);
  TokenizeForm form;
  read_form(body, kTokenizeForm, form);
  const bool wants_bytes = form.wants_pieces || form.wants_strings;
  TokenizeForm shape;
  shape.wants_pieces = form.wants_pieces;
  shape.wants_strings = form.wants_strings;
  Reply<MaybeError, Ids> encoded;
  backends.cluster.encode(to_encode_request(std::move(form)), encoded.callback());
  auto [error, ids] = co_await encoded.answer("the worker group", kTextTimeout);
  if (error) throw *error;
  std::vector<std::string> pieces;
  if (wants_bytes) {
    Reply<MaybeError, std::string, std::vector<std::string>> decoded;
    backends.cluster.decode(ids, decoded.callback());
    auto [failure, text, found] = co_await decoded.answer("the worker group", kTextTimeout);
    if (failure) throw *failure;
    pieces = std::move(found);
  }
  co_return json_response(tokens_json(ids, pieces, shape, backends.cluster.view()));
}

struct DetokenizeForm {
  std::optional<Ids> tokens;
};
constexpr Field<DetokenizeForm> kDetokenizeForm[] = {
    {"tokens", [](FieldValue v, DetokenizeForm& f) { f.tokens = v.token_ids(); }},
    {"model", [](FieldValue v, DetokenizeForm&) { v.text(); }},
};

void check_tokens(const DetokenizeForm& form, const ClusterView& cluster) {
  if (!form.tokens) refuse_field("tokens", "`tokens` is missing: an array of token ids.");
  if (form.tokens->size() > kMaxDetokenizeIds) {
    refuse_field("tokens",
                 fmt::format("`tokens` has {} ids; {} are the most.", form.tokens->size(), kMaxDetokenizeIds));
  }
  for (const TokenId id : *form.tokens) {
    if (!cluster.model || id < cluster.model->vocabulary) continue;
    refuse_field("tokens", fmt::format("Token id {} is not in the vocabulary: ids go from 0 to {}.", id,
                                       cluster.model->vocabulary - 1));
  }
}

Handled detokenize(const Backends& backends, Exchange& exchange) {
  JsonValue body = co_await read_json_body(exchange);
  DetokenizeForm form;
  read_form(body, kDetokenizeForm, form);
  check_tokens(form, backends.cluster.view());
  Reply<MaybeError, std::string, std::vector<std::string>> decoded;
  backends.cluster.decode(std::move(*form.tokens), decoded.callback());
  auto [error, text, pieces] = co_await decoded.answer("the worker group", kTextTimeout);
  if (error) throw *error;
  JsonWriter json;
  json.begin_object().field("prompt", text).field("content", text).end_object();
  co_return json_response(json.take());
}

struct TemplateForm {
  std::optional<std::vector<ChatMessage>> messages;
};
constexpr Field<TemplateForm> kTemplateForm[] = {
    {"messages", [](FieldValue v, TemplateForm& f) { f.messages = read_messages(std::move(v.json()), v.name()); }},
    {"model", [](FieldValue v, TemplateForm&) { v.text(); }},
};

Handled apply_template(const Backends& backends, Exchange& exchange) {
  JsonValue body = co_await read_json_body(exchange);
  TemplateForm form;
  read_form(body, kTemplateForm, form);
  if (!form.messages) refuse_field("messages", "`messages` is missing: what the template is to render.");
  check_message_bytes(*form.messages);
  Reply<MaybeError, std::string> rendered;
  backends.cluster.render(std::move(*form.messages), rendered.callback());
  auto [error, prompt] = co_await rendered.answer("the worker group", kTextTimeout);
  if (error) throw *error;
  JsonWriter json;
  json.begin_object().field("prompt", prompt).end_object();
  co_return json_response(json.take());
}

}  // namespace

std::vector<Route> text_routes(const Backends& backends) {
  const auto to_ids = [&backends](Exchange& exchange, std::string) { return tokenize(backends, exchange); };
  const auto to_text = [&backends](Exchange& exchange, std::string) { return detokenize(backends, exchange); };
  const auto to_prompt = [&backends](Exchange& exchange, std::string) { return apply_template(backends, exchange); };
  return {
      {.method = "POST", .pattern = "/tokenize", .handler = to_ids},
      {.method = "POST", .pattern = "/detokenize", .handler = to_text},
      {.method = "POST", .pattern = "/apply-template", .handler = to_prompt},
  };
}

}  // namespace rotulus::coordinator::http
