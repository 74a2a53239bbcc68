// Token ranges of a context: ids from the catalogue; their text, made by rank 0, token by token, so that a passage
// reads as it does within its document.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "coordinator/catalogue.h"
#include "coordinator/text_service.h"

namespace rotulus::coordinator {

using RangeIdsDone = std::function<void(std::optional<protocol::Error>, std::vector<protocol::TokenId> ids)>;

// The ids at the ranges, one behind the other. `done` is called once, on the loop: {payload_too_large} for more tokens
// than one message takes, else what the catalogue says. The catalogue outlives the call.
void read_ranges(Catalogue& catalogue, ContextId context, std::vector<protocol::TokenRange> ranges, RangeIdsDone done);

using PassagesDone = std::function<void(std::optional<protocol::Error>, std::vector<std::string> passages)>;

// … and what they say, one text for each range; or what read_ranges() or the text service say.
void read_passages(Catalogue& catalogue, TextService& texts, ContextId context,
                   std::vector<protocol::TokenRange> ranges, PassagesDone done);

}  // namespace rotulus::coordinator
