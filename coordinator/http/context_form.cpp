#include "coordinator/http/context_form.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <charconv>
#include <cstring>

#include "coordinator/http/attention_form.h"
#include "protocol/limits.h"

namespace rotulus::coordinator::http {
namespace {

using protocol::TokenId;

constexpr std::int64_t kMaxTtlSeconds = 10ll * 365 * 24 * 3600;
static_assert(std::endian::native == std::endian::little);  // ids are taken as they lie in memory

void read_metadata(FieldValue value, ContextForm& form) {
  const JsonValue object{value.object()};
  form.description.metadata_json = to_json(object);
  if (form.description.metadata_json.size() > protocol::kMaxMetadataBytes) {
    refuse_field("metadata", fmt::format("`metadata` has {} bytes as JSON; {} are the most.",
                                         form.description.metadata_json.size(), protocol::kMaxMetadataBytes));
  }
}

// Seconds: a number, or a text such as "3600s" or "3600".
void read_ttl(FieldValue value, ContextForm& form) {
  std::int64_t seconds = 0;
  if (const auto* integer = value.json().get_if<std::int64_t>()) {
    seconds = *integer;
  } else if (const auto* text = value.json().get_if<std::string>()) {
    const char* end = text->data() + text->size() - (text->ends_with('s') ? 1 : 0);
    const auto [stop, failure] = std::from_chars(text->data(), end, seconds);
    if (failure != std::errc{} || stop != end) seconds = 0;
  }
  if (seconds < 1 || seconds > kMaxTtlSeconds) {
    value.refuse(fmt::format("a number of seconds from 1 to {}, or a text like \"3600s\"", kMaxTtlSeconds));
  }
  form.ttl = std::chrono::seconds(seconds);
}

void check_form(const ContextForm& form) {
  if (form.description.system && form.description.frame == protocol::Frame::raw) {
    refuse_field("system", "`system` has no place in a `raw` frame; use the `chat` frame, or put it into the text.");
  }
}

// "text/plain; charset=utf-8" -> "text/plain"
std::string media_type(std::string_view content_type) {
  std::string type(content_type.substr(0, content_type.find(';')));
  type.erase(std::find_if(type.rbegin(), type.rend(), [](char c) { return c != ' ' && c != '\t'; }).base(), type.end());
  std::transform(type.begin(), type.end(), type.begin(), [](unsigned char c) { return std::tolower(c); });
  return type;
}

std::string percent_decode(std::string_view text) {
  const auto digit = [](char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
  };
  std::string decoded;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      decoded += text[i] == '+' ? ' ' : text[i];
      continue;
    }
    const int high = i + 2 < text.size() ? digit(text[i + 1]) : -1;
    const int low = i + 2 < text.size() ? digit(text[i + 2]) : -1;
    if (high < 0 || low < 0) refuse_field("", "The query string has a '%' without two hexadecimal digits behind it.");
    decoded += static_cast<char>(high * 16 + low);
    i += 2;
  }
  if (to_valid_utf8(decoded) != decoded) refuse_field("", "The query string is not UTF-8.");
  return decoded;
}

}  // namespace

ContextFields context_fields() {
  return {
      {"text", [](FieldValue v, ContextForm& f) { f.text = v.text(); }},
      {"input_ids", [](FieldValue v, ContextForm& f) { f.input_ids = v.token_ids(); }},
      {"frame",
       [](FieldValue v, ContextForm& f) {
         f.description.frame = v.choice({"chat", "raw"}) == "chat" ? protocol::Frame::chat : protocol::Frame::raw;
       }},
      {"system", [](FieldValue v, ContextForm& f) { f.description.system = v.text(protocol::kMaxSystemBytes); }},
      {"display_name",
       [](FieldValue v, ContextForm& f) { f.description.display_name = v.text(protocol::kMaxDisplayNameBytes); }},
      {"metadata", read_metadata},
      {"attention", [](FieldValue v, ContextForm& f) { f.description.attention = read_context_attention(v); }},
      {"landmarks", [](FieldValue v, ContextForm& f) { f.description.landmarks = read_landmark_kinds(v); }},
      {"model", [](FieldValue v, ContextForm&) { v.text(); }},  // one model is served, under any name
      {"ttl", read_ttl},
  };
}

std::optional<DocumentBody> document_body(const HttpRequest& request) {
  const std::string type = media_type(request.header("content-type"));
  if (type == "application/json") return DocumentBody::json;
  if (type == "text/plain") return DocumentBody::text;
  if (type == "application/octet-stream") return DocumentBody::token_ids;
  return std::nullopt;
}

HttpResponse unsupported_document() {
  return error_response(http_error(415, "unsupported_media_type",
                                   "Content-Type must be application/json (fields), text/plain (the document) or "
                                   "application/octet-stream (its token ids as u32 little-endian)."));
}

awaitable<ContextForm> read_context_json(Exchange& exchange, ContextFields fields) {
  ContextForm form;
  {
    JsonValue body = co_await read_json_body(exchange);
    read_form<ContextForm>(as_object(body), fields, form);
  }
  check_form(form);
  if (!exchange.request().query.empty()) {
    refuse_field("", "With a JSON body all fields belong into the body, none into the query string.");
  }
  co_return form;
}

ContextForm read_context_query(std::string_view query, const ContextFields& fields) {
  JsonValue object = parse_query(query);
  for (JsonMember& member : as_object(object)) {
    if (member.key == "text" || member.key == "input_ids") {
      refuse_field(member.key, fmt::format("`{}` is the body itself in a request of this Content-Type.", member.key));
    }
    const std::string text = *member.value.get_if<std::string>();
    const bool is_json = member.key == "metadata" || (member.key == "attention" && text.starts_with('{')) ||
                         (member.key == "landmarks" && text.starts_with('['));
    if (is_json) member.value = parse_json(text);
  }
  ContextForm form;
  read_form<ContextForm>(as_object(object), fields, form);
  check_form(form);
  return form;
}

JsonValue parse_query(std::string_view query) {
  JsonValue::Object object;
  while (!query.empty()) {
    const std::string_view part = query.substr(0, query.find('&'));
    query.remove_prefix(std::min(query.size(), part.size() + 1));
    if (part.empty()) continue;
    const std::size_t equals = part.find('=');
    std::string key = percent_decode(part.substr(0, equals));
    for (const JsonMember& member : object) {
      if (member.key == key) refuse_field(key, fmt::format("`{}` is given twice in the query string.", key));
    }
    JsonValue value{equals == std::string_view::npos ? std::string() : percent_decode(part.substr(equals + 1))};
    object.push_back({.key = std::move(key), .value = std::move(value)});
  }
  return {std::move(object)};
}

void check_ids(std::span<const TokenId> ids, std::uint64_t first_index,
               const std::optional<protocol::ModelFacts>& model) {
  if (!model) return;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < model->vocabulary) continue;
    refuse_field("input_ids", fmt::format("Token id {} at index {} is not in the vocabulary: ids go from 0 to {}.",
                                          ids[i], first_index + i, model->vocabulary - 1));
  }
}

void IdChecker::write(std::string_view piece) {
  rest_ += piece;
  std::vector<TokenId> ids(rest_.size() / sizeof(TokenId));
  if (ids.empty()) return;
  std::memcpy(ids.data(), rest_.data(), ids.size() * sizeof(TokenId));
  rest_.erase(0, ids.size() * sizeof(TokenId));
  check_ids(ids, count_, model_);
  count_ += ids.size();
}

std::uint64_t IdChecker::finish() const {
  if (!rest_.empty()) {
    refuse_field("",
                 fmt::format("The body must be 32-bit little-endian token ids; {} bytes are left over after {} ids.",
                             rest_.size(), count_));
  }
  return count_;
}

}  // namespace rotulus::coordinator::http
