// What a document would take, before any of it is computed: its tokens are counted, nothing is kept.
#pragma once

#include "coordinator/http/backends.h"

namespace rotulus::coordinator::http {

// POST /v1/contexts/estimate: what POST /v1/contexts takes, or `tokens`, a count, in place of the document.
Handled estimate_context(const Backends& backends, Exchange& exchange);

}  // namespace rotulus::coordinator::http
