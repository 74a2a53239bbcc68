// The page at "/": the worker group, the contexts and their progress, read from the API by the browser. One file
// without foreign assets; its policy admits exactly the script and the style that it holds, by their hashes.
#pragma once

#include "coordinator/http/exchange.h"

namespace rotulus::coordinator::http {

// With 401 it is the page that asks for the key.
HttpResponse dashboard_page(unsigned status);

}  // namespace rotulus::coordinator::http
