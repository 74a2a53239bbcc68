// A context in memory: what is durable, what was given to the catalogue, and what runs. Of context_service.h alone.
#pragma once

#include <map>
#include <optional>

#include "coordinator/context_service.h"

namespace rotulus::coordinator {

struct ContextService::Entry {
  ContextRecord record;  // durable
  ContextRecord given;   // will be durable, if the disk allows it
  bool is_erased = false;
  bool was_completed = false;  // in_progress again for a repair
  std::uint64_t computed_before = 0;
  // Shares objects with another context that is kept, and its listing does not name its chunks yet. It is not completed
  // before it does.
  bool wants_listing = false;

  // The chunk that is being computed.
  std::uint64_t chunk_tokens_computed = 0;
  std::uint32_t attempts = 0;              // that failed since the last commit
  std::uint32_t groups_lost = 0;           // under it, since the last commit
  Timer retry;                             // not before it fires
  std::optional<protocol::Error> blocked;  // until the next worker group
  std::optional<protocol::Epoch> opened_in;

  bool is_superseded = false;                   // a later version goes by its id; kept for what runs on it
  std::optional<protocol::Error> append_error;  // why the last version that was to follow did not

  int holds = 0;
  std::int64_t last_used_ms = 0;
  std::uint64_t event_sequence = 0;
  std::uint64_t next_subscriber = 0;
  std::map<std::uint64_t, std::function<void(const ContextEvent&)>> subscribers;
};

}  // namespace rotulus::coordinator
