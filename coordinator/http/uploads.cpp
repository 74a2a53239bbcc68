#include "coordinator/http/uploads.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <chrono>
#include <cstring>
#include <filesystem>

#include "coordinator/http/awaiting.h"
#include "coordinator/http/context_json.h"
#include "coordinator/http/json_writer.h"
#include "coordinator/http/request_form.h"
#include "protocol/limits.h"

namespace rotulus::coordinator::http {
namespace {

using protocol::Error;
using protocol::ErrorCode;
using protocol::TokenId;
using namespace std::chrono_literals;

constexpr auto kCreateTimeout = 120s;
static_assert(std::endian::native == std::endian::little);  // ids are spooled as they lie in memory

struct ContextForm {
  protocol::ContextDescription description;
  std::optional<std::string> text;
  std::optional<std::vector<TokenId>> input_ids;
};

void read_metadata(FieldValue value, ContextForm& form) {
  const JsonValue object{value.object()};
  form.description.metadata_json = to_json(object);
  if (form.description.metadata_json.size() > protocol::kMaxMetadataBytes) {
    refuse_field("metadata", fmt::format("`metadata` has {} bytes as JSON; {} are the most.",
                                         form.description.metadata_json.size(), protocol::kMaxMetadataBytes));
  }
}

constexpr Field<ContextForm> kForm[] = {
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
    {"model", [](FieldValue v, ContextForm&) { v.text(); }},  // one model is served, under any name
    {"ttl",
     [](FieldValue v, ContextForm&) {
       refuse_field("ttl", fmt::format("`ttl` is not built yet; leave it out (given: {}). Contexts stay until DELETE.",
                                       describe(v.json())));
     }},
};

void check_form(const ContextForm& form) {
  if (form.description.system && form.description.frame == protocol::Frame::raw) {
    refuse_field("system", "`system` has no place in a `raw` frame; use the `chat` frame, or put it into the text.");
  }
}

// Ids beyond the vocabulary are refused as soon as a model is known; until then the tokenizing phase finds them.
void check_ids(std::span<const TokenId> ids, std::uint64_t first_index,
               const std::optional<protocol::ModelFacts>& model) {
  if (!model) return;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < model->vocabulary) continue;
    refuse_field("input_ids", fmt::format("Token id {} at index {} is not in the vocabulary: ids go from 0 to {}.",
                                          ids[i], first_index + i, model->vocabulary - 1));
  }
}

std::string_view as_bytes(std::span<const TokenId> ids) {
  return {reinterpret_cast<const char*>(ids.data()), ids.size_bytes()};
}

awaitable<SpooledDocument> spool_whole(const Backends& backends, SpoolKind kind, std::string_view bytes) {
  SpooledDocument document;
  std::function<void()> work = [&] {
    SpoolWriter writer(backends.config.spool_directory, kind);
    writer.append(bytes);
    document = writer.finish();
  };
  co_await run_on(backends.file_pool, std::move(work));
  co_return document;
}

// Checks the ids of a body that comes in pieces cut anywhere.
class IdChecker {
 public:
  explicit IdChecker(std::optional<protocol::ModelFacts> model) : model_(std::move(model)) {}

  void write(std::string_view piece) {
    rest_ += piece;
    std::vector<TokenId> ids(rest_.size() / sizeof(TokenId));
    if (ids.empty()) return;
    std::memcpy(ids.data(), rest_.data(), ids.size() * sizeof(TokenId));
    rest_.erase(0, ids.size() * sizeof(TokenId));
    check_ids(ids, count_, model_);
    count_ += ids.size();
  }

  void finish() const {
    if (!rest_.empty()) {
      refuse_field("",
                   fmt::format("The body must be 32-bit little-endian token ids; {} bytes are left over after {} ids.",
                               rest_.size(), count_));
    }
  }

 private:
  std::optional<protocol::ModelFacts> model_;
  std::string rest_;
  std::uint64_t count_ = 0;
};

awaitable<SpooledDocument> spool_body(const Backends& backends, Exchange& exchange, SpoolKind kind) {
  exchange.limit_body(protocol::kMaxDocumentBytes);
  std::optional<SpoolWriter> writer;
  std::function<void()> open = [&] { writer.emplace(backends.config.spool_directory, kind); };
  IdChecker ids(backends.cluster.view().model);
  bool is_open = false;
  while (true) {
    const std::string_view piece = co_await exchange.read_body();
    if (piece.empty()) break;
    if (kind == SpoolKind::token_ids) ids.write(piece);
    if (!is_open) co_await run_on(backends.file_pool, open);
    is_open = true;
    std::function<void()> append = [&] { writer->append(piece); };
    co_await run_on(backends.file_pool, std::move(append));
  }
  if (!is_open) refuse_field("", "The body is empty: it must be the document.");
  if (kind == SpoolKind::token_ids) ids.finish();
  SpooledDocument document;
  std::function<void()> finish = [&] { document = writer->finish(); };
  co_await run_on(backends.file_pool, std::move(finish));
  co_return document;
}

awaitable<NewContext> receive_json(const Backends& backends, Exchange& exchange) {
  ContextForm form;
  {
    JsonValue body = co_await read_json_body(exchange);
    read_form(body, kForm, form);
  }
  check_form(form);
  if (!exchange.request().query.empty()) {
    refuse_field("", "With a JSON body all fields belong into the body, none into the query string.");
  }
  if (form.text.has_value() == form.input_ids.has_value()) {
    refuse_field("text", "Give the document as exactly one of `text` and `input_ids`.");
  }
  const std::string_view bytes = form.text ? std::string_view(*form.text) : as_bytes(*form.input_ids);
  if (bytes.empty()) refuse_field(form.text ? "text" : "input_ids", "The document is empty.");
  if (form.input_ids) check_ids(*form.input_ids, 0, backends.cluster.view().model);
  NewContext context;
  context.document = co_await spool_whole(backends, form.text ? SpoolKind::text : SpoolKind::token_ids, bytes);
  context.description = std::move(form.description);
  co_return context;
}

awaitable<NewContext> receive_document(const Backends& backends, Exchange& exchange, SpoolKind kind) {
  JsonValue query = parse_query(exchange.request().query);
  for (JsonMember& member : *query.get_if<JsonValue::Object>()) {
    if (member.key == "text" || member.key == "input_ids") {
      refuse_field(member.key, fmt::format("`{}` is the body itself in a request of this Content-Type.", member.key));
    }
    if (member.key == "metadata") member.value = parse_json(*member.value.get_if<std::string>());
  }
  ContextForm form;
  read_form(query, kForm, form);
  check_form(form);
  NewContext context;
  context.document = co_await spool_body(backends, exchange, kind);
  context.description = std::move(form.description);
  co_return context;
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

Handled create_context(const Backends& backends, Exchange& exchange) {
  const std::string type = media_type(exchange.request().header("content-type"));
  NewContext context;
  if (type == "application/json") {
    context = co_await receive_json(backends, exchange);
  } else if (type == "text/plain") {
    context = co_await receive_document(backends, exchange, SpoolKind::text);
  } else if (type == "application/octet-stream") {
    context = co_await receive_document(backends, exchange, SpoolKind::token_ids);
  } else {
    const ApiError refusal = http_error(415, "unsupported_media_type",
                                        "Content-Type must be application/json (fields), text/plain (the document) or "
                                        "application/octet-stream (its token ids as u32 little-endian).");
    co_return error_response(refusal);
  }
  const std::filesystem::path spooled = context.document.path;
  Reply<std::optional<Error>, ContextView> reply;
  backends.contexts.create(std::move(context), reply.callback());
  auto [error, view] = co_await reply.answer("the catalogue", kCreateTimeout);
  if (error) {
    std::function<void()> remove = [&] {
      std::error_code ignored;
      std::filesystem::remove(spooled, ignored);
    };
    co_await run_on(backends.file_pool, std::move(remove));
    throw *error;
  }
  HttpResponse response = json_response(to_json(view, backends.cluster.model_name()), 202);
  response.headers.emplace_back("Location", "/v1/contexts/" + protocol::to_string(view.id));
  co_return response;
}

}  // namespace rotulus::coordinator::http
