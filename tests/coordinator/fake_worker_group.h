// A worker group that works without a model: real connections, the real protocol, one thread a rank. Tokens are bytes,
// an answer's next token is a hash of everything before it, its evidence the pages in which its question stands word
// for word, "KV" is the manifest of a chunk on a disk that outlives the group. What it was asked to do is counted, and
// it can be stalled, damaged and killed at chosen places.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "protocol/messages.h"

namespace rotulus::coordinator::testing {

struct FakeVolume {
  struct Stored {
    protocol::ManifestRecord manifest;
    std::uint64_t hash = 0;
    bool is_damaged = false;
    std::map<std::pair<std::uint64_t, std::uint32_t>, std::string> slices = {};  // by stripe and layer
  };
  protocol::StoreId store;
  std::uint64_t sequence = 0;
  std::uint64_t bytes_free = 1ull << 40;
  std::uint64_t disk = 0;  // 0: one of its own
  bool is_salvaged = false;
  std::map<protocol::ObjectId, Stored> objects;
};

// Outlives groups, and coordinators.
struct FakeDisk {
  std::mutex mutex;
  std::map<protocol::VolumeId, FakeVolume> volumes;
};

struct FakeGroupOptions {
  std::uint16_t port = 0;
  std::uint64_t group = 1;
  std::uint32_t size = 2;
  std::string secret;
  std::uint32_t ranks_that_come = 256;                     // the others never connect
  std::vector<protocol::VolumeId> volumes = {{11}, {12}};  // one for each rank, as far as there are
  protocol::ModelFacts model{.name = "fake", .context_length = 8192, .vocabulary = 256, .kv = {.token_bytes = 1000}};
  protocol::ContextParameters parameters{.model_fingerprint = "model",
                                         .tokenizer_fingerprint = "bytes",
                                         .rope = "none",
                                         .kv_type = "f16",
                                         .numerics_id = "fake-1"};
  std::function<void(protocol::Hello&)> before_hello;  // what a rank that does not fit says
};

// What is asked of it from the start on; may be changed while it runs.
struct FakeGroupOrders {
  std::optional<std::uint64_t> stall_computing_at;   // at this position of a context, until released
  std::optional<std::uint32_t> stall_answers_at;     // before this token index
  std::optional<protocol::ErrorCode> fail_chunks;    // each ComputeChunk
  std::optional<protocol::ErrorCode> fail_listings;  // each CommitListing
  bool is_deaf = false;                              // reads nothing: its peer's queue fills
};

struct FakeGroupCounts {
  std::uint64_t tokens_computed = 0;
  std::uint64_t tokens_recomputed = 0;
  std::uint64_t chunks_asked = 0;
  std::uint64_t listings_asked = 0;
  std::uint64_t answers_started = 0;
  std::uint64_t answers_cancelled = 0;
  std::uint64_t bytes_tokenized = 0;
  std::uint64_t work_received = 0;  // by rank 0
  std::uint64_t last_wake = 0;      // at rank 1
  std::uint64_t objects_erased = 0;
  std::uint64_t slices_written = 0;  // parts of them
  std::uint64_t pings = 0;           // of all ranks
  bool is_drained = false;
  std::vector<protocol::Refusal> refusals;
  std::vector<protocol::ContextId> compute_order;
  std::optional<protocol::OpenContext> last_opened;
  std::optional<protocol::StartAnswer> last_started;
};

class FakeWorkerGroup final {
 public:
  FakeWorkerGroup(FakeDisk& disk, FakeGroupOptions options, FakeGroupOrders orders = {});
  ~FakeWorkerGroup();  // kills it

  void kill();
  void order(FakeGroupOrders orders);  // and goes on with what was stalled
  FakeGroupCounts counts() const;

 private:
  struct State;
  std::shared_ptr<State> state_;  // shared with the threads of its ranks
};

std::string fake_slice(const std::vector<protocol::TokenId>& ids, std::uint64_t stripe, std::uint32_t layer);

// What the fake model says after these tokens.
protocol::TokenId fake_next_token(const std::vector<protocol::TokenId>& before);

}  // namespace rotulus::coordinator::testing
