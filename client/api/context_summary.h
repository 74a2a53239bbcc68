// What the command line shows of a context, read from the API's context object. Values.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace rotulus::client {

struct ContextSummary {
  std::string id;
  std::string name;
  std::string status;  // queued, in_progress, completed, failed, cancelled
  std::string phase;   // "tokenizing", "computing", or ""
  std::string last_error;
  std::int64_t created_at = 0;  // Unix seconds
  std::uint64_t total_tokens = 0;
  std::uint64_t processed_tokens = 0;
  std::int64_t eta_ms = -1;
  std::uint64_t bytes = 0;  // of its keys and values on disk
  bool operator==(const ContextSummary&) const = default;

  bool is_final() const { return status == "completed" || status == "failed" || status == "cancelled"; }
};

// Throw Error{unavailable} for what is no context object, no page of them, or no JSON.
ContextSummary parse_context(std::string_view text);

struct ContextPage {
  std::vector<ContextSummary> contexts;
  bool has_more = false;
};
ContextPage parse_context_page(std::string_view text);

}  // namespace rotulus::client
