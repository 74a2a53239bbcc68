// START HERE. The contexts of this store: their lives from submission to deletion, as the API sees them.
//
// A context is in the catalogue from the moment it is accepted; what the catalogue says survives any kill. Its chunks
// are computed one after the other by the worker group and become visible by one synced catalogue record each.
//
//   queued -> in_progress -> completed          (a damaged chunk takes it back to in_progress until it is repaired)
//        \________\______-> failed | cancelled
//
// Threads: everything here runs on the coordinator's one event loop; nothing blocks it. Errors: Error{not_found},
// {conflict}, {invalid_argument}, {storage_full}, {unavailable}.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "coordinator/planner.h"
#include "coordinator/spool.h"
#include "protocol/messages.h"

namespace rotulus::coordinator {

using protocol::ContextId;

enum class ContextStatus : std::uint8_t { queued, in_progress, completed, failed, cancelled };
std::string_view to_string(ContextStatus status);

struct ContextProgress {
  std::uint64_t total = 0;      // tokens; 0 while the document is being tokenized
  std::uint64_t processed = 0;  // tokens computed
  std::uint64_t committed = 0;  // tokens durable
  std::int64_t time_ms = 0;     // spent computing
  std::int64_t eta_ms = -1;     // -1: not known yet
};

// A reading of all that is stored of a context.
struct VerificationView {
  bool is_running = true;
  bool is_mending = false;  // it has read everything; what was damaged is being computed again
  std::uint64_t chunks_total = 0;
  std::uint64_t chunks_read = 0;
  std::uint64_t chunks_damaged = 0;  // and given to be computed again
  std::uint64_t blocks_verified = 0;
  std::uint64_t blocks_damaged = 0;
  std::optional<protocol::Error> error;  // why it did not come to its end
};

struct ContextView {
  ContextId id;
  ContextStatus status = ContextStatus::queued;
  std::string phase;  // "tokenizing", "computing", "" when it rests
  protocol::ContextDescription description;
  protocol::ContextParameters parameters;
  ContextProgress progress;
  std::uint64_t source_bytes = 0;
  std::uint64_t kv_bytes = 0;        // of the committed chunks
  std::uint64_t window_savings = 0;  // bytes that they do not take because layers slide
  std::uint64_t chunks_committed = 0;
  std::uint64_t chunks_repaired = 0;
  std::uint64_t shared_tokens = 0;          // not computed for it: other contexts had them
  bool numerics_changed = false;            // its numerics id is not the running one
  std::vector<std::string> absent_volumes;  // hex ids of volumes it needs and no rank holds
  std::optional<protocol::Error> last_error;
  std::optional<VerificationView> verification;  // the present or the last, since the coordinator started
};

// What a new context is made of. `description.token_count` and times are filled in here.
struct NewContext {
  protocol::ContextDescription description;
  SpooledDocument document;
  std::optional<std::chrono::seconds> ttl;  // from its creation; absent: it stays until it is erased
};

// What a document of so many tokens would take. Nothing is done for it.
struct ContextEstimate {
  std::uint64_t tokens = 0;
  protocol::RetrievalParameters retrieval;
  std::uint64_t disk_bytes = 0;             // of its keys, values and landmarks
  std::uint64_t landmark_bytes = 0;         // of these
  std::uint64_t window_savings = 0;         // what they would take more if no layer slid
  std::uint64_t disk_bytes_free = 0;        // on all volumes that are held
  std::optional<double> seconds;            // to compute it; nullopt: nothing was computed yet to judge by
  std::optional<protocol::Error> obstacle;  // why it would be failed
};

// An entry of a context's event stream; `sequence` ascends by one per context.
struct ContextEvent {
  std::uint64_t sequence = 0;
  ContextView view;
};

// A context on its way to another cluster: a file, piece by piece (context_file.h). Let go, it ends.
class ContextExport {
 public:
  virtual ~ContextExport() = default;
  // The next piece; "": the file is whole. One call at a time; at most one record of the file is in memory.
  virtual void next(std::function<void(std::optional<protocol::Error>, std::string)> done) = 0;
};

// And on its way here. Nothing is visible before finish(); let go before, nothing is left of it.
class ContextImport {
 public:
  virtual ~ContextImport() = default;
  // One call at a time, the next when `done` was called. An error is final.
  virtual void take(std::string_view piece, std::function<void(std::optional<protocol::Error>)> done) = 0;
  // The file is whole: durable, and completed, when `done` is called with the view.
  virtual void finish(std::function<void(std::optional<protocol::Error>, ContextView)> done) = 0;
};

struct ImportRequest {
  std::optional<std::string> display_name;  // in place of the file's
  // Called with what the file says of the context; throws an Error for what is not to be kept.
  std::function<void(const protocol::ContextDescription&)> check = [](const auto&) {};
};

class Contexts {
 public:
  virtual ~Contexts() = default;

  // Durable when `done` is called with the view (or an error): the document is in the spool, the record is synced.
  virtual void create(NewContext context, std::function<void(std::optional<protocol::Error>, ContextView)> done) = 0;

  virtual std::optional<ContextView> find(ContextId id) const = 0;
  // Newest first; anonymous ones are left out. `after` names the last one of the page before.
  virtual std::vector<ContextView> list(std::optional<ContextId> after, std::size_t limit) const = 0;

  // Throws Error{unavailable} until a worker group has said what its model is.
  virtual ContextEstimate estimate(std::uint64_t tokens, const KeptForRetrieval& asked) const = 0;

  virtual ContextView cancel(ContextId id) = 0;  // throws Error{not_found}; a finished one is returned as it is
  // It never expires, whatever was said before. Durable when `done` is called with the view (or {not_found}).
  virtual void pin(ContextId id, std::function<void(std::optional<protocol::Error>, ContextView)> done) = 0;
  // Begins to read all that is stored of it, beside everything else; a reading that is under way goes on. What is
  // damaged is computed again. Its progress is in the views. Throws Error{not_found}.
  virtual ContextView verify(ContextId id) = 0;
  // The document is continued by `text`: the context is in_progress until the longer one is complete, and then goes on
  // under its id. Its tokens are those of the whole text submitted at once. Questions are answered on what there was
  // until then, and those that run to their end. Cancelled or failed, it leaves the context as it was. Durable when
  // `done` is called with the view, or {not_found}, {conflict} where it is not completed or not made of text.
  using ViewDone = std::function<void(std::optional<protocol::Error>, ContextView)>;
  virtual void append(ContextId id, std::string text, ViewDone done) = 0;
  // A new context of the same document, which may be continued; the one it is made of stays. As append().
  virtual void fork(ContextId id, std::string text, ViewDone done) = 0;
  // Throws Error{not_found}, {conflict} where it is not completed, {unavailable} while kMaxTransfers are under way or
  // no worker group is ready. Its pieces: {storage_corrupt} where a chunk is damaged; it is computed again.
  virtual std::unique_ptr<ContextExport> begin_export(ContextId id) = 0;
  // Throws Error{unavailable} likewise. What it takes: {storage_corrupt} naming the byte at which the file is damaged;
  // {conflict} naming the parameter in which it was computed otherwise than the running workers would; {storage_full}
  // before anything is written; {unavailable} when the worker group is lost.
  virtual std::unique_ptr<ContextImport> begin_import(ImportRequest request) = 0;
  // Erased from the catalogue when `done` is called; its bytes are gone from the volumes held. {not_found} otherwise.
  virtual void erase(ContextId id, std::function<void(std::optional<protocol::Error>)> done) = 0;

  // Called on each change, at once with the present view. Unsubscribes when the returned handle is destroyed.
  virtual std::shared_ptr<void> subscribe(ContextId id, std::function<void(const ContextEvent&)> on_event) = 0;
};

}  // namespace rotulus::coordinator
