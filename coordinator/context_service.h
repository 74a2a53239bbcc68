// The lives of contexts: accepted, tokenized, computed chunk by chunk, repaired, expired, erased (contexts.h says what
// the API sees of it).
//
// Invariants:
//   1. `Entry::record` is what is durable; it changes only when the catalogue says so. `Entry::given` is what was given
//      to the catalogue last; decisions are made on it.
//   2. One document is tokenized and one chunk computed at a time. Who waits longest goes first, but prompts with a
//      client waiting for them go before documents, and repairs before both.
//   3. Each attempt at a chunk has an object id of its own. What comes of an attempt that is not the present one is
//      erased, never named.
//   4. A context never changes its tokens: what is appended makes a version of its own (context_versions.cpp). Ids that
//      the API gives are those that versions go by; in messages, in the catalogue and for queries they are their own.
//   5. A chunk that another context has committed under the same key (prefix_keys.h) is listed, not computed. How many
//      contexts list an object is stored nowhere: one that a change took off a list is erased if it is on no other.
//
// Threads: the event loop.
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "coordinator/catalogue.h"
#include "coordinator/context_import.h"
#include "coordinator/contexts.h"
#include "coordinator/cost_model.h"
#include "coordinator/event_loop.h"
#include "coordinator/log.h"
#include "coordinator/membership.h"
#include "coordinator/metrics.h"
#include "coordinator/passages.h"
#include "coordinator/planner.h"
#include "coordinator/slice_calls.h"
#include "coordinator/text_service.h"
#include "coordinator/tokenize_job.h"
#include "coordinator/verifier.h"
#include "coordinator/worker_group.h"

namespace rotulus::coordinator {

struct ContextServiceConfig {
  std::filesystem::path spool_directory;
  std::chrono::milliseconds anonymous_ttl = std::chrono::seconds(300);  // after its last use
  std::chrono::milliseconds retry_delay = std::chrono::milliseconds(500);
};

// What a query may do with a context.
struct Usability {
  enum class State : std::uint8_t { usable, in_repair, unusable };
  State state = State::usable;
  std::optional<protocol::Error> error;  // unusable: why
};

class ContextService final : public Contexts, public LiveObjects, public GroupListener {
 public:
  ContextService(EventLoop& loop, ContextServiceConfig config, Catalogue& catalogue, WorkerGroup& group,
                 TextService& texts, Metrics& metrics, Log& log);
  ~ContextService() override;

  // Contexts.
  void create(NewContext context, std::function<void(std::optional<protocol::Error>, ContextView)> done) override;
  std::optional<ContextView> find(ContextId id) const override;
  std::vector<ContextView> list(std::optional<ContextId> after, std::size_t limit) const override;
  ContextEstimate estimate(std::uint64_t tokens, const KeptForRetrieval& asked) const override;
  ContextView cancel(ContextId id) override;
  void pin(ContextId id, std::function<void(std::optional<protocol::Error>, ContextView)> done) override;
  ContextView verify(ContextId id) override;
  void append(ContextId id, std::string text, ViewDone done) override;
  void fork(ContextId id, std::string text, ViewDone done) override;
  std::unique_ptr<ContextExport> begin_export(ContextId id) override;
  std::unique_ptr<ContextImport> begin_import(ImportRequest request) override;
  void erase(ContextId id, std::function<void(std::optional<protocol::Error>)> done) override;
  std::shared_ptr<void> subscribe(ContextId id, std::function<void(const ContextEvent&)> on_event) override;

  // For queries, which name the version of a context that they began with.
  ContextId version(ContextId id) const;
  // `on_changed` is told of every context whose usability may be another now.
  void set_observer(std::function<void(ContextId)> on_changed) { on_changed_ = std::move(on_changed); }
  Usability usability(ContextId id) const;
  void open_on_group(ContextId id);  // before work on it is given to a group that does not know it yet
  // The tokens at the ranges. {not_found}, {invalid_argument} for no range of it, and what passages.h says.
  void read_ranges(ContextId id, std::vector<protocol::TokenRange> ranges, RangeIdsDone done);
  // What the tokens of each range say. {not_found}, {invalid_argument} for no range of it, and what passages.h says.
  void read_passages(ContextId id, std::vector<protocol::TokenRange> ranges, PassagesDone done);
  [[nodiscard]] std::shared_ptr<void> hold(ContextId id);  // while held it does not expire

  // Computes nothing new but the prompts that running answers wait for; what runs ends at its last committed chunk.
  void drain();
  void expire();  // called every second; erases what nobody used for its time to live
  std::map<std::string, std::size_t> count_by_status() const;

  // LiveObjects.
  std::vector<protocol::ReconcileVolume::Live> live_objects(protocol::VolumeId volume) const override;
  void mark_damaged(std::vector<protocol::ObjectId> objects, std::function<void()> done) override;
  void adopt(std::vector<ContextRecord> rebuilt) override;

  // GroupListener.
  void on_group_ready() override;
  void on_group_lost(const std::string& why) override;
  void on_message(const protocol::Message& message) override;

 private:
  struct Entry;
  struct Attempt {  // the chunk that is being computed
    ContextId context;
    std::uint32_t chunk_index = 0;
    protocol::ObjectId object;
    std::chrono::steady_clock::time_point started;
    bool is_committing = false;  // durable on its volumes; its catalogue record is being written
  };

  struct ListingAttempt {
    ContextId context;
    Listing listing;
  };

  Entry* entry(ContextId id) const;
  std::optional<protocol::Error> check_ranges(ContextId id, const std::vector<protocol::TokenRange>& ranges) const;
  Entry& add_entry(ContextRecord record);
  ContextView view(const Entry& entry) const;
  void notify(Entry& changed);
  std::optional<protocol::Error> find_obstacle(const Entry& entry) const;
  std::vector<std::string> absent_volumes(const Entry& entry) const;
  Capacity capacity() const;
  SpooledDocument spooled(const ContextRecord& record) const;
  std::filesystem::path detach_source(Entry& entry) const;

  // Gives `entry.given` to the catalogue with whatever else is in the batch; `then` when it is durable or has failed.
  void submit(Entry& entry, CatalogueBatch batch, Catalogue::Kind kind, Catalogue::Done then);
  void stop_work(Entry& entry);
  void fail(Entry& entry, const protocol::Error& error);
  void erase_version(ContextId id, std::function<void(std::optional<protocol::Error>)> done);
  void finish_erase(ContextId id, const std::function<void(std::optional<protocol::Error>)>& done);
  void erase_objects(std::vector<protocol::ObjectId> objects);

  // context_transfers.cpp
  std::shared_ptr<void> take_transfer_slot() const;
  void adopt(ImportedContext imported, ViewDone done);
  void abandon(const ImportedContext& imported);

  // context_versions.cpp
  struct Versions {  // of a context that was appended to
    ContextId current;
    ContextId next;  // not complete yet
  };
  static ContextId public_id(const ContextRecord& record);
  Entry* named(ContextId id) const;
  Entry* next_version(const Entry& entry) const;
  bool is_next_version(const Entry& entry) const;
  ContextView shown(const Entry& entry) const;  // as the API sees it: with what the next version is doing
  std::optional<protocol::Error> find_underivable(ContextId id, const std::string& text) const;
  void derive(ContextId id, std::string text, bool replaces, ViewDone done);
  void take_over(Entry& entry);
  void retire(Entry& entry);
  void give_up(Entry& entry, const std::optional<protocol::Error>& why);
  void settle_versions();

  // context_sharing.cpp
  struct Shared {  // chunks that became listed together
    std::vector<std::uint32_t> chunks;
    std::uint64_t tokens = 0;
  };
  void set_durable(Entry& entry, ContextRecord durable);
  void forget_prefix(const PrefixKey& key, ContextId id);
  const protocol::ObjectRecord* find_shared(const ContextRecord& wanting, std::uint32_t chunk) const;
  // Lists the chunks that come next as far as others have them. The batch is to be submitted if there were any.
  Shared share_prefix(Entry& entry, CatalogueBatch& batch);
  void on_shared(ContextId id, const Shared& shared);
  void take_back(Entry& entry, const Shared& shared);
  void pump_sharing();
  void release(std::vector<protocol::ObjectId> objects);
  void want_listing(Entry& entry);
  void want_listings();
  bool is_whole(const Entry& entry) const;
  Entry* next_to_list();
  void pump_listing();
  void on_listed(const protocol::ListingCommitted& listed);
  void on_listing_failed(Entry& entry, const protocol::Error& error);
  void drop_listing(Entry& entry);
  std::uint64_t most_shared_bytes() const;

  // context_work.cpp
  void pump();
  void pump_tokenizing();
  void pump_computing();
  bool may_work(const Entry& entry) const;
  Entry* next_to_compute();
  void start_tokenizing(Entry& entry);
  void on_tokenized(ContextId id, const std::optional<protocol::Error>& error, TokenizedDocument document);
  void start_chunk(Entry& entry, std::uint32_t chunk_index);
  void give_chunk(const Attempt& attempt, std::vector<protocol::TokenId> ids);
  bool is_current(const Attempt& attempt) const;
  void on_progress(const protocol::ChunkProgress& progress);
  void on_committed(const protocol::ChunkCommitted& committed);
  void on_recorded(ContextId id, std::uint32_t chunk_index, const std::optional<protocol::Error>& error);
  void note_completed(Entry& entry);
  void on_failed(const protocol::ComputeFailed& failed);
  void on_damaged(const protocol::ChunkDamaged& damaged);
  void retry_later(Entry& entry);
  void begin_repair(Entry& entry, std::uint32_t chunk_index);
  Verifier::Owner owner_of_verifier();

  EventLoop& loop_;
  const ContextServiceConfig config_;
  Catalogue& catalogue_;
  WorkerGroup& group_;
  TextService& texts_;
  Metrics& metrics_;
  Log& log_;
  std::function<void(ContextId)> on_changed_;
  std::map<ContextId, std::unique_ptr<Entry>> entries_;
  std::map<ContextId, Versions> versions_;             // by the id that they go by
  std::map<PrefixKey, std::set<ContextId>> prefixes_;  // which contexts have a chunk durably, by its key
  std::optional<ContextId> tokenizing_;
  std::unique_ptr<TokenizeJob> job_;
  std::optional<Attempt> attempt_;
  Verifier verifier_;
  SliceCalls slices_;
  std::shared_ptr<void> transfer_slots_ = std::make_shared<char>();  // each transfer has one of its counted handles
  std::optional<ListingAttempt> listing_attempt_;
  CostModel costs_;                           // of the present group
  std::vector<protocol::ObjectId> to_erase_;  // when a group is ready
  bool is_draining_ = false;
  Timer expiry_;
  // Handles that were given out refer to it: one that is let go later than this ends does nothing.
  std::shared_ptr<void> alive_ = std::make_shared<char>();
};

}  // namespace rotulus::coordinator
