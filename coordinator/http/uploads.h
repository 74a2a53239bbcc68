// How a document comes in (context_form.h says in which forms): through the spool, in pieces, durable before the
// answer.
#pragma once

#include "coordinator/http/backends.h"

namespace rotulus::coordinator::http {

// POST /v1/contexts: 202 with the context.
Handled create_context(const Backends& backends, Exchange& exchange);

}  // namespace rotulus::coordinator::http
