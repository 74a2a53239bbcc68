// A context as the API shows it.
#pragma once

#include <string>
#include <string_view>

#include "coordinator/contexts.h"

namespace rotulus::coordinator::http {

std::string to_json(const ContextView& view, std::string_view model_name);

}  // namespace rotulus::coordinator::http
