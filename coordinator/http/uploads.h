// How a document comes in: a JSON body with `text` or `input_ids`, or the document itself as the body (text/plain, or
// u32 little-endian token ids as application/octet-stream) with the other fields in the query string. Either way it
// goes through the spool, in pieces, and is durable before the answer.
#pragma once

#include "coordinator/http/backends.h"

namespace rotulus::coordinator::http {

// POST /v1/contexts: 202 with the context.
Handled create_context(const Backends& backends, Exchange& exchange);

// The parameters of a query string as an object of strings. Throws Error{invalid_argument} for what is not
// percent-encoded UTF-8, or given twice.
JsonValue parse_query(std::string_view query);

}  // namespace rotulus::coordinator::http
