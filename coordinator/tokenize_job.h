// One document from the spool to token ids in the catalogue: read in pieces, given to rank 0's tokenizer (or read as
// ids), stored as it comes, and stopped as soon as it cannot fit. Never held whole in memory: one piece is under way.
//
// Threads: the event loop; files are read on the file pool. Destroying it stops it; nothing is called after that.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "coordinator/catalogue.h"
#include "coordinator/event_loop.h"
#include "coordinator/planner.h"
#include "coordinator/prefix_keys.h"
#include "coordinator/text_service.h"

namespace rotulus::coordinator {

struct TokenizedDocument {
  std::uint64_t token_count = 0;
  // The last piece is left to the caller, to be committed together with the count.
  std::uint32_t last_piece = 0;
  std::vector<protocol::TokenId> last_ids;
  PrefixChain prefixes;  // of all ids
};

class TokenizeJob final {
 public:
  struct Input {
    ContextId context;
    SpooledDocument document;
    protocol::Frame frame = protocol::Frame::raw;
    std::optional<std::string> system;
    KeptForRetrieval kept;
    Capacity capacity;
    std::uint32_t vocabulary = 0;
  };
  // {context_length_exceeded}, {storage_full} as soon as the tokens counted so far do not fit; {invalid_argument} for
  // an empty document or a wrong id: the document's fault, for good. {unavailable}, {deadline_exceeded}: to be tried
  // again. Others: the disk's.
  using Done = std::function<void(std::optional<protocol::Error>, TokenizedDocument)>;

  TokenizeJob(EventLoop& loop, TextService& texts, Catalogue& catalogue, Input input, Done done);
  ~TokenizeJob();
  TokenizeJob(const TokenizeJob&) = delete;
  TokenizeJob& operator=(const TokenizeJob&) = delete;

 private:
  struct Run;
  std::shared_ptr<Run> run_;  // what is under way refers to it weakly
};

}  // namespace rotulus::coordinator
