// What this store holds, durably: the only point at which a chunk becomes visible, a context accepted, or deleted.
//
//   RocksDB in <store>/catalogue, WAL on. Keys, ids big-endian:
//     m/format m/store m/sequence m/next_object m/next_context m/next_epoch
//     c/<context>/d  parameters and description          c/<context>/s  status, source document, error
//     c/<context>/o/<chunk>  what is known of a committed chunk (absent: not computed)
//     c/<context>/l  the listing of a context that shares objects
//     c/<context>/t/<piece>  65,536 token ids each, u32 little-endian
//     c/<context>/w  high-water mark of computing, the one thing that is written without sync
//
// Invariants:
//   1. Changes are durable in the order in which they were given; `done` is called on the loop, in that order, when its
//      change is synced. What a caller holds in memory changes only then.
//   2. Each change carries a catalogue sequence that ascends over all lives of the store. sequence() is the last one
//      that is durable, so a volume never sees one that a crash could take back.
//   3. An object id, a context id or an epoch is never given out twice: whole ranges are reserved, synced, before their
//      first one is used.
//
// Threads: all calls on the event loop; the writing is done by a thread of its own. Errors: open() throws
// Error{storage_corrupt} for a catalogue that does not open, {conflict} if another process has it open, {unsupported}
// for another format; a change that cannot be written is reported to its `done`, and the next one opens anew.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "coordinator/catalogue_database.h"
#include "coordinator/contexts.h"
#include "coordinator/event_loop.h"
#include "coordinator/log.h"
#include "coordinator/prefix_keys.h"
#include "coordinator/spool.h"
#include "protocol/messages.h"

namespace rotulus::coordinator {

inline constexpr std::size_t kTokenIdsPerPiece = 64u << 10;

// The record on the volumes that names the chunks of a context which shares some of them (messages.h, ManifestRecord).
struct Listing {
  protocol::ObjectRecord record;
  std::vector<protocol::ObjectId> objects;
};

// A context as the catalogue knows it.
struct ContextRecord {
  ContextId id;
  ContextStatus status = ContextStatus::queued;
  protocol::ContextParameters parameters;    // no fingerprint in it: not tokenized yet
  protocol::ContextDescription description;  // token_count 0: not tokenized yet
  std::optional<SpooledDocument> source;     // while it is needed
  std::uint64_t source_bytes = 0;
  std::vector<protocol::ObjectRecord> chunks;  // one for each chunk; object 0: not computed
  std::optional<Listing> listing;              // names other objects than `chunks` until a new one is written
  std::uint64_t computed_before = 0;           // tokens [0, it) have been computed at some time
  std::uint64_t chunks_repaired = 0;
  std::uint64_t shared_tokens = 0;  // of chunks that were listed, not computed
  std::int64_t compute_ms = 0;      // spent on the committed chunks
  std::optional<protocol::Error> last_error;
  // One for each chunk, made of the token ids and not stored; empty where these are gone.
  std::vector<PrefixKey> prefix_keys;

  bool is_tokenized() const { return description.token_count != 0; }
};

// Changes that become durable together, or not at all.
class CatalogueBatch final {
 public:
  void put_context(const ContextRecord& record);  // all of it but chunks, listing, token ids and high-water mark
  void put_chunk(ContextId context, std::uint32_t chunk_index, const protocol::ObjectRecord& record);
  void erase_chunk(ContextId context, std::uint32_t chunk_index);
  void put_listing(ContextId context, const Listing& listing);
  void erase_listing(ContextId context);
  void put_token_ids(ContextId context, std::uint32_t piece, std::span<const protocol::TokenId> ids);
  void erase_token_ids(ContextId context);
  void erase_context(ContextId context);

 private:
  friend class Catalogue;
  std::vector<DatabaseOperation> operations_;
};

class Catalogue final {
 public:
  using Done = std::function<void(std::optional<protocol::Error>)>;
  enum class Kind : std::uint8_t { record, create, erase };  // which failpoints it passes

  // `may_replace`: one that does not open is moved aside, and an empty one takes its place (--rebuild-catalogue).
  static std::unique_ptr<Catalogue> open(const std::filesystem::path& directory, EventLoop& loop, Log& log,
                                         bool may_replace);
  ~Catalogue();  // what was given is still written

  protocol::StoreId store() const;
  std::uint64_t sequence() const;
  bool is_empty() const;  // named no context when it was opened
  // Of the opening; call once. Ascending by id.
  std::vector<ContextRecord> take_contexts();

  void commit(CatalogueBatch batch, Kind kind, Done done);
  // Called when everything given before is durable or has failed.
  void barrier(std::function<void()> done);
  void note_computed(ContextId context,
                     std::uint64_t computed_before);  // not synced: survives the process, not the power

  using TokenIdsDone = std::function<void(std::optional<protocol::Error>, std::vector<protocol::TokenId>)>;
  void read_token_ids(ContextId context, protocol::TokenRange range, TokenIdsDone done);

  // Fresh ids. nullopt: the next range could not be reserved (a full disk).
  std::optional<protocol::ObjectId> next_object();
  std::optional<ContextId> next_context();
  std::optional<protocol::Epoch> next_epoch();

  // What volumes tell of a store whose catalogue was lost. Only for an empty catalogue.
  struct Rebuilt {
    protocol::StoreId store;
    std::uint64_t sequence = 0;      // later than any that a volume saw
    std::uint64_t first_object = 0;  // later than any on a volume
    std::uint64_t first_context = 0;
    std::vector<std::pair<ContextRecord, std::vector<protocol::TokenId>>> contexts;
  };
  void rebuild(Rebuilt rebuilt, Done done);

 private:
  struct State;
  explicit Catalogue(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace rotulus::coordinator
