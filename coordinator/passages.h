// The text at token ranges of a context: ids from the catalogue, made text by rank 0, token by token, so that a passage
// reads as it does within its document.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "coordinator/catalogue.h"
#include "coordinator/text_service.h"

namespace rotulus::coordinator {

using PassagesDone = std::function<void(std::optional<protocol::Error>, std::vector<std::string> passages)>;

// `done` is called once, on the loop, with one text for each range. {payload_too_large} for more tokens than one
// message takes, else what the catalogue or the text service say. Catalogue and texts outlive the call.
void read_passages(Catalogue& catalogue, TextService& texts, ContextId context,
                   std::vector<protocol::TokenRange> ranges, PassagesDone done);

}  // namespace rotulus::coordinator
