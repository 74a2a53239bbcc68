// Contexts that leave as files and come as files: GET /v1/contexts/{id}/export and POST /v1/contexts/import.
#pragma once

#include "coordinator/http/backends.h"
#include "coordinator/http/router.h"

namespace rotulus::coordinator::http {

Handled export_context(const Backends& backends, Exchange& exchange, ContextId id);
Handled import_context(const Backends& backends, Exchange& exchange);

}  // namespace rotulus::coordinator::http
