// Re-reading: of a context beyond the window, the text of the pages that a question looked at most is computed again as
// a prompt of its own, in which everything stands where it is read and is attended exactly.
//
// The question runs twice. First by retrieval, for its votes alone; then behind the excerpts, in document order:
//
//   opening   the frame, and at least the first block: what every question reads (sinks)
//   evidence  the pages of the largest mass, each with the one before and the one behind it, best first, as far as
//             the budget goes and their mass is near the best: an excerpt most often begins before its sentence and
//             ends behind it
//   window    the last tokens of the document, those of the local window
//
// Excerpts are whole pages, so that a token range of the document says what was read. Pure functions of numbers.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <variant>
#include <vector>

#include "coordinator/planner.h"

namespace rotulus::coordinator {

struct RereadPlan {
  std::vector<protocol::TokenRange> ranges;  // of the document, ascending, disjoint and not adjacent
  std::uint64_t tokens = 0;                  // of them all
  AnswerPlan answer;                         // behind them
};

// `size` is that of the answer by retrieval, whose attention asks for re-reading; `opening_tokens` those of its frame.
// Where the window does not hold all that was asked for, there is less evidence: {context_length_exceeded} with the
// numbers if it does not hold what is always read.
std::variant<RereadPlan, protocol::Error> plan_reread(const AnswerSize& size, std::uint64_t opening_tokens,
                                                      std::span<const protocol::Evidence> evidence);

}  // namespace rotulus::coordinator
