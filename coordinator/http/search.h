// Where in a context the model looks when it is asked: the query runs through it as a question, and the pages that any
// head gave most of its attention are what is found.
#pragma once

#include "coordinator/http/backends.h"

namespace rotulus::coordinator::http {

// POST /v1/contexts/{id}/search, in the shape of OpenAI's vector store search. In a chat context the query is the
// user's turn; in a raw one it stands as a paragraph of its own behind the text.
Handled search_context(const Backends& backends, Exchange& exchange, std::string id);

}  // namespace rotulus::coordinator::http
