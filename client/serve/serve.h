// The verb `serve`: judges its options, takes the store, and supervises until it is told to end.
#pragma once

#include "client/options.h"

namespace rotulus::client {

// The program's exit code. Throws Error{invalid_argument} for options that cannot be (no model, a public address
// without a key), {conflict} for a store in use, {unavailable} for what the system does not give.
int serve(ServeOptions options, const GlobalOptions& global);

}  // namespace rotulus::client
