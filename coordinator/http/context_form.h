// What a request says of a document: a JSON body with `text` or `input_ids`, or the document itself as the body
// (text/plain, or u32 little-endian token ids as application/octet-stream) with the other fields in the query string.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "coordinator/http/backends.h"
#include "coordinator/http/request_form.h"

namespace rotulus::coordinator::http {

struct ContextForm {
  protocol::ContextDescription description;
  std::optional<std::string> text;
  std::optional<std::vector<protocol::TokenId>> input_ids;
  std::optional<std::chrono::seconds> ttl;
  std::optional<std::uint64_t> token_count;  // of an estimate
};
using ContextFields = std::vector<Field<ContextForm>>;
ContextFields context_fields();

enum class DocumentBody { json, text, token_ids };
// By the Content-Type; nullopt for any other.
std::optional<DocumentBody> document_body(const HttpRequest& request);
HttpResponse unsupported_document();  // 415

// Each throws Error{invalid_argument} naming the field. Of the document itself the JSON has exactly one field.
awaitable<ContextForm> read_context_json(Exchange& exchange, ContextFields fields);
ContextForm read_context_query(std::string_view query, const ContextFields& fields);

// The parameters of a query string as an object of strings. Throws Error{invalid_argument} for what is not
// percent-encoded UTF-8, or given twice.
JsonValue parse_query(std::string_view query);

// Ids beyond the vocabulary are refused as soon as a model is known; until then the tokenizing phase finds them.
void check_ids(std::span<const protocol::TokenId> ids, std::uint64_t first_index,
               const std::optional<protocol::ModelFacts>& model);

// Checks the ids of a body that comes in pieces cut anywhere.
class IdChecker final {
 public:
  explicit IdChecker(std::optional<protocol::ModelFacts> model) : model_(std::move(model)) {}

  void write(std::string_view piece);
  std::uint64_t finish() const;  // their count

 private:
  std::optional<protocol::ModelFacts> model_;
  std::string rest_;
  std::uint64_t count_ = 0;
};

}  // namespace rotulus::coordinator::http
