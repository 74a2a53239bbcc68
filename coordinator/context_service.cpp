#include "coordinator/context_service.h"

#include <algorithm>
#include <set>
#include <utility>

#include "coordinator/context_entry.h"
#include "protocol/limits.h"

namespace rotulus::coordinator {

using protocol::Error;
using protocol::ErrorCode;

namespace {

constexpr auto kExpiryInterval = std::chrono::seconds(1);
constexpr std::size_t kObjectsPerMessage = 64u << 10;

bool is_final(ContextStatus status) {
  return status == ContextStatus::completed || status == ContextStatus::failed || status == ContextStatus::cancelled;
}

std::uint64_t ceil_ms(std::chrono::steady_clock::duration duration) {
  return static_cast<std::uint64_t>(std::chrono::ceil<std::chrono::milliseconds>(duration).count());
}

void remove_file(const std::filesystem::path& path) {
  std::error_code ignored;  // what stays is removed at the next start
  if (!path.empty()) std::filesystem::remove(path, ignored);
}

// A context that ends unfinished is never gone on with.
CatalogueBatch without_token_ids(ContextId id) {
  CatalogueBatch batch;
  batch.erase_token_ids(id);
  return batch;
}

Error not_found(ContextId id) {
  return Error(ErrorCode::not_found, fmt::format("no context {}", protocol::to_string(id)), "context_id");
}

}  // namespace

std::string_view to_string(ContextStatus status) {
  switch (status) {
    case ContextStatus::queued:
      return "queued";
    case ContextStatus::in_progress:
      return "in_progress";
    case ContextStatus::completed:
      return "completed";
    case ContextStatus::failed:
      return "failed";
    case ContextStatus::cancelled:
      return "cancelled";
  }
  return "unknown";
}

ContextService::ContextService(EventLoop& loop, ContextServiceConfig config, Catalogue& catalogue, WorkerGroup& group,
                               TextService& texts, Metrics& metrics, Log& log)
    : loop_(loop),
      config_(std::move(config)),
      catalogue_(catalogue),
      group_(group),
      texts_(texts),
      metrics_(metrics),
      log_(log),
      on_changed_([](ContextId) {}),
      verifier_(group, owner_of_verifier()),
      slices_(group) {
  std::vector<ContextId> abandoned;
  std::vector<std::filesystem::path> needed;
  for (ContextRecord& record : catalogue_.take_contexts()) {
    // The client of an unfinished prompt went with the process that it was connected to.
    if (record.description.is_anonymous && record.status != ContextStatus::completed) abandoned.push_back(record.id);
    if (record.source) needed.push_back(record.source->path);
    add_entry(std::move(record));
  }
  const std::size_t removed = clean_spool(config_.spool_directory, needed);
  want_listings();
  log_.info("catalogue_opened", {{"contexts", entries_.size()},
                                 {"store", catalogue_.store()},
                                 {"sequence", catalogue_.sequence()},
                                 {"spool_files_removed", removed}});
  for (const ContextId id : abandoned) erase_version(id, [](const auto&) {});
  settle_versions();
  expiry_ = loop_.after(kExpiryInterval, [this] { expire(); });
}

ContextService::~ContextService() = default;

// ---------------------------------------------------------------------------------------------------------------
// What the API asks

void ContextService::create(NewContext context, std::function<void(std::optional<Error>, ContextView)> done) {
  ContextRecord record;
  const auto id = catalogue_.next_context();
  const bool is_refused = is_draining_ && !context.description.is_anonymous;
  if (!id || is_refused) {
    remove_file(context.document.path);
    const Error error = is_draining_
                            ? Error(ErrorCode::unavailable, "the server is shutting down")
                            : Error(ErrorCode::storage_full, "the catalogue cannot be written: the disk is full");
    return loop_.post([done = std::move(done), error] { done(error, {}); });
  }
  record.id = *id;
  record.description = std::move(context.description);
  const bool is_version = static_cast<bool>(record.description.version_of);
  if (!is_version) record.description.created_at_unix_ms = loop_.unix_ms();
  record.description.token_count = 0;
  if (record.description.is_anonymous) {
    record.description.expires_at_unix_ms = loop_.unix_ms() + config_.anonymous_ttl.count();
  } else if (context.ttl) {
    record.description.expires_at_unix_ms = loop_.unix_ms() + std::chrono::milliseconds(*context.ttl).count();
  }
  record.source = context.document;
  record.source->path = context.document.path.filename();  // the store may be moved
  record.source_bytes = context.document.bytes;
  if (is_version) {
    const ContextId known = record.description.version_of;
    versions_[known] = {.current = version(known), .next = *id};
  }
  Entry& added = add_entry(std::move(record));
  submit(
      added, {}, Catalogue::Kind::create, [this, id = *id, done = std::move(done)](const std::optional<Error>& error) {
        Entry* created = entry(id);
        if (error) {
          if (created) {
            remove_file(detach_source(*created));
            if (is_next_version(*created)) versions_[public_id(created->given)].next = {};
          }
          entries_.erase(id);
          return done(error, {});
        }
        if (!created) return done(not_found(id), {});
        log_.info("context_created", {{"context", protocol::to_string(id)}, {"bytes", created->record.source_bytes}});
        done(std::nullopt, view(*created));
        pump();
      });
}

std::optional<ContextView> ContextService::find(ContextId id) const {
  const Entry* found = named(id);
  return found ? std::optional(shown(*found)) : std::nullopt;
}

std::vector<ContextView> ContextService::list(std::optional<ContextId> after, std::size_t limit) const {
  std::vector<ContextView> views;
  const ContextId last = after ? version(*after) : ContextId{};
  auto found = after ? entries_.lower_bound(last ? last : *after) : entries_.end();
  while (found != entries_.begin() && views.size() < limit) {
    const Entry& listed = *(--found)->second;
    const bool is_named = named(public_id(listed.record)) == &listed;
    if (is_named && !listed.record.description.is_anonymous) views.push_back(shown(listed));
  }
  return views;
}

ContextEstimate ContextService::estimate(std::uint64_t tokens, const KeptForRetrieval& asked) const {
  if (!group_.has_model()) {
    throw Error(ErrorCode::unavailable, "what fits is known when a worker group has come: " + group_.state());
  }
  const Capacity now = capacity();
  ContextEstimate estimate{.tokens = tokens, .retrieval = plan_retrieval(asked, tokens, now.window)};
  const StoredBytes stored = stored_bytes(tokens, now.kv, estimate.retrieval);
  estimate.disk_bytes = stored.total;
  estimate.landmark_bytes = stored.landmarks;
  estimate.window_savings = stored.saved;
  estimate.disk_bytes_free = now.bytes_free;
  estimate.seconds = costs_.seconds(tokens, estimate.retrieval);
  estimate.obstacle = check_document(asked, tokens, true, now);
  return estimate;
}

std::optional<Error> ContextService::check_ranges(ContextId id, const std::vector<protocol::TokenRange>& ranges) const {
  const Entry* found = entry(id);
  if (!found) return not_found(id);
  for (const protocol::TokenRange& range : ranges) {
    if (range.begin <= range.end && range.end <= found->record.description.token_count) continue;
    return Error(ErrorCode::invalid_argument,
                 fmt::format("[{}, {}) is no range of {}", range.begin, range.end, protocol::to_string(id)));
  }
  return std::nullopt;
}

void ContextService::read_ranges(ContextId id, std::vector<protocol::TokenRange> ranges, RangeIdsDone done) {
  if (const auto error = check_ranges(id, ranges)) {
    return loop_.post([done = std::move(done), error] { done(error, {}); });
  }
  coordinator::read_ranges(catalogue_, id, std::move(ranges), std::move(done));
}

void ContextService::read_passages(ContextId id, std::vector<protocol::TokenRange> ranges, PassagesDone done) {
  if (const auto error = check_ranges(id, ranges)) {
    return loop_.post([done = std::move(done), error] { done(error, {}); });
  }
  coordinator::read_passages(catalogue_, texts_, id, std::move(ranges), std::move(done));
}

ContextView ContextService::cancel(ContextId id) {
  Entry* found = named(id);
  if (!found) throw not_found(id);
  if (Entry* next = next_version(*found)) {
    give_up(*next, std::nullopt);
    return shown(*found);
  }
  if (is_final(found->given.status)) return view(*found);
  stop_work(*found);
  found->given.status = ContextStatus::cancelled;
  const std::filesystem::path file = detach_source(*found);
  const ContextId own = found->given.id;
  submit(*found, without_token_ids(own), Catalogue::Kind::record, [this, id, file](const std::optional<Error>& error) {
    if (error) return;
    remove_file(file);
    log_.info("context_cancelled", {{"context", protocol::to_string(id)}});
  });
  ContextView cancelled = view(*found);
  cancelled.status = ContextStatus::cancelled;
  cancelled.phase.clear();
  on_changed_(own);
  pump();
  return cancelled;
}

void ContextService::pin(ContextId id, std::function<void(std::optional<Error>, ContextView)> done) {
  Entry* found = named(id);
  if (!found) return loop_.post([done = std::move(done), id] { done(not_found(id), {}); });
  found->given.description.expires_at_unix_ms = 0;
  if (Entry* next = next_version(*found)) {
    next->given.description.expires_at_unix_ms = 0;
    submit(*next, {}, Catalogue::Kind::record, [](const auto&) {});
  }
  submit(*found, {}, Catalogue::Kind::record, [this, id, done = std::move(done)](const std::optional<Error>& error) {
    const Entry* pinned = named(id);
    if (error || !pinned) return done(error ? error : not_found(id), {});
    log_.info("context_pinned", {{"context", protocol::to_string(id)}});
    done(std::nullopt, shown(*pinned));
  });
}

ContextView ContextService::verify(ContextId id) {
  const Entry* found = named(id);
  if (!found) throw not_found(id);
  verifier_.begin(found->given.id);
  return shown(*found);
}

void ContextService::erase(ContextId id, std::function<void(std::optional<Error>)> done) {
  const Entry* found = named(id);
  if (!found) return loop_.post([done = std::move(done), id] { done(not_found(id)); });
  if (const Entry* next = next_version(*found)) {
    versions_[id].next = {};
    erase_version(next->given.id, [](const auto&) {});
  }
  erase_version(found->given.id, std::move(done));
}

void ContextService::erase_version(ContextId id, std::function<void(std::optional<Error>)> done) {
  Entry* found = entry(id);
  if (!found) return loop_.post([done = std::move(done), id] { done(not_found(id)); });
  stop_work(*found);
  found->is_erased = true;
  CatalogueBatch batch;
  batch.erase_context(id);
  catalogue_.commit(std::move(batch), Catalogue::Kind::erase,
                    [this, id, done = std::move(done)](const std::optional<Error>& error) {
                      if (!error) return finish_erase(id, done);
                      if (const auto kept = entries_.find(id); kept != entries_.end()) kept->second->is_erased = false;
                      done(error);
                    });
  on_changed_(id);
  pump();
}

void ContextService::finish_erase(ContextId id, const std::function<void(std::optional<Error>)>& done) {
  ContextView last = view(*entries_.at(id));
  std::vector<protocol::ObjectId> objects;
  for (const auto* record : {&entries_.at(id)->record, &entries_.at(id)->given}) {
    for (const protocol::ObjectRecord& chunk : record->chunks) objects.push_back(chunk.object);
    if (record->listing) objects.push_back(record->listing->record.object);
  }
  set_durable(*entries_.at(id), {.id = id});
  const auto erased = std::move(entries_.extract(id).mapped());
  verifier_.forget(id);
  remove_file(detach_source(*erased));
  release(std::move(objects));
  log_.info("context_erased", {{"context", protocol::to_string(id)}});
  last.status = ContextStatus::cancelled;
  last.last_error = Error(ErrorCode::not_found, fmt::format("{} was deleted", protocol::to_string(last.id)));
  for (const auto& [number, on_event] : std::exchange(erased->subscribers, {})) {
    on_event({.sequence = erased->event_sequence + 1, .view = last});
  }
  done(std::nullopt);
}

std::shared_ptr<void> ContextService::subscribe(ContextId id, std::function<void(const ContextEvent&)> on_event) {
  Entry* found = named(id);
  if (!found) throw not_found(id);
  const std::uint64_t number = found->next_subscriber++;
  found->subscribers[number] = on_event;
  auto handle = std::shared_ptr<void>(nullptr, [this, id, number, alive = std::weak_ptr(alive_)](void*) {
    if (alive.expired()) return;
    const auto subscribed = entries_.find(version(id));
    if (subscribed != entries_.end()) subscribed->second->subscribers.erase(number);
  });
  on_event({.sequence = found->event_sequence, .view = shown(*found)});
  return handle;
}

// ---------------------------------------------------------------------------------------------------------------
// What queries ask

Usability ContextService::usability(ContextId id) const {
  const Entry* found = entry(id);
  if (!found) return {Usability::State::unusable, not_found(id)};
  const std::string name = protocol::to_string(public_id(found->given));
  if (const auto obstacle = find_obstacle(*found)) return {Usability::State::unusable, obstacle};
  if (found->given.status == ContextStatus::completed && found->record.status == ContextStatus::completed) return {};
  if (found->was_completed && !is_final(found->given.status)) return {Usability::State::in_repair, std::nullopt};
  if (found->given.status == ContextStatus::completed) return {Usability::State::in_repair, std::nullopt};
  if (found->given.status == ContextStatus::failed && found->given.last_error) {
    return {Usability::State::unusable,
            Error(ErrorCode::conflict, fmt::format("{} has failed: {}", name, found->given.last_error->message()),
                  "context_id")};
  }
  if (found->given.status == ContextStatus::cancelled) {
    return {Usability::State::unusable,
            Error(ErrorCode::conflict, fmt::format("{} was cancelled", name), "context_id")};
  }
  const ContextProgress progress = view(*found).progress;
  return {
      Usability::State::unusable,
      Error(ErrorCode::conflict,
            progress.total == 0 ? fmt::format("{} is not completed yet: it is {}", name, to_string(found->given.status))
                                : fmt::format("{} is not completed yet: {} of {} tokens are computed", name,
                                              progress.processed, progress.total),
            "context_id")};
}

void ContextService::open_on_group(ContextId id) {
  Entry* found = entry(id);
  if (!found || found->opened_in == group_.epoch()) return;
  protocol::OpenContext open{.context = id};
  open.parameters = found->given.parameters;
  open.description = found->given.description;
  open.chunks = found->given.chunks;
  group_.send_work(open);
  found->opened_in = group_.epoch();
}

std::shared_ptr<void> ContextService::hold(ContextId id) {
  Entry* held = entry(id);
  if (held) ++held->holds;
  return {nullptr, [this, id, alive = std::weak_ptr(alive_)](void*) {
            if (alive.expired()) return;
            const auto found = entries_.find(id);
            if (found == entries_.end()) return;
            --found->second->holds;
            found->second->last_used_ms = loop_.unix_ms();
            if (!found->second->is_superseded) return;
            loop_.post([this, id, alive] {
              Entry* superseded = alive.expired() ? nullptr : entry(id);
              if (superseded) retire(*superseded);
            });
          }};
}

// ---------------------------------------------------------------------------------------------------------------
// What membership asks

std::vector<protocol::ReconcileVolume::Live> ContextService::live_objects(protocol::VolumeId volume) const {
  std::map<protocol::ObjectId, std::uint64_t> hashes;  // an object may be in several contexts
  for (const auto& [id, found] : entries_) {
    if (found->is_erased) continue;
    const auto add = [&](const protocol::ObjectRecord& record) {
      for (const protocol::VolumeManifest& manifest : record.manifests) {
        if (manifest.volume == volume) hashes[record.object] = manifest.manifest_hash;
      }
    };
    for (const protocol::ObjectRecord& chunk : found->record.chunks) add(chunk);
    if (found->record.listing) add(found->record.listing->record);
  }
  std::vector<protocol::ReconcileVolume::Live> live;
  for (const auto& [object, hash] : hashes) live.push_back({object, hash});
  return live;
}

void ContextService::mark_damaged(std::vector<protocol::ObjectId> objects, std::function<void()> done) {
  const std::set<protocol::ObjectId> damaged(objects.begin(), objects.end());
  for (const auto& [id, found] : entries_) {
    if (found->is_erased) continue;
    for (std::uint32_t index = 0; index < found->given.chunks.size(); ++index) {
      if (damaged.contains(found->given.chunks[index].object)) begin_repair(*found, index);
    }
    if (found->given.listing && damaged.contains(found->given.listing->record.object)) drop_listing(*found);
  }
  catalogue_.barrier(std::move(done));
}

void ContextService::adopt(std::vector<ContextRecord> rebuilt) {
  for (ContextRecord& record : rebuilt) add_entry(std::move(record));
  want_listings();
  settle_versions();
}

// ---------------------------------------------------------------------------------------------------------------
// Keeping

void ContextService::expire() {
  expiry_ = loop_.after(kExpiryInterval, [this] { expire(); });
  const std::int64_t now = loop_.unix_ms();
  std::vector<ContextId> expired;
  for (const auto& [id, found] : entries_) {
    const protocol::ContextDescription& description = found->record.description;
    if (found->is_erased || found->holds > 0 || description.expires_at_unix_ms == 0) continue;
    if (found->is_superseded || is_next_version(*found)) continue;
    const std::int64_t since_use = description.is_anonymous ? found->last_used_ms + config_.anonymous_ttl.count() : 0;
    if (now >= std::max(description.expires_at_unix_ms, since_use)) expired.push_back(public_id(found->record));
  }
  for (const ContextId id : expired) {
    log_.info("context_expired", {{"context", protocol::to_string(id)}});
    erase(id, [](const auto&) {});
  }
}

std::map<std::string, std::size_t> ContextService::count_by_status() const {
  std::map<std::string, std::size_t> counts;
  for (const ContextStatus status : {ContextStatus::queued, ContextStatus::in_progress, ContextStatus::completed,
                                     ContextStatus::failed, ContextStatus::cancelled}) {
    counts[std::string(to_string(status))] = 0;
  }
  for (const auto& [id, found] : entries_) {
    if (!found->is_erased) ++counts[std::string(to_string(found->record.status))];
  }
  return counts;
}

ContextService::Entry* ContextService::entry(ContextId id) const {
  const auto found = entries_.find(id);
  return found == entries_.end() || found->second->is_erased ? nullptr : found->second.get();
}

ContextService::Entry& ContextService::add_entry(ContextRecord record) {
  auto added = std::make_unique<Entry>();
  added->computed_before = record.computed_before;
  added->given = record;
  added->last_used_ms = loop_.unix_ms();
  Entry& entry = *(entries_[record.id] = std::move(added));
  set_durable(entry, std::move(record));
  return entry;
}

std::optional<Error> ContextService::find_obstacle(const Entry& entry) const {
  if (!entry.given.is_tokenized() || !group_.has_model()) return std::nullopt;
  const std::string name = protocol::to_string(entry.given.id);
  if (const auto field = protocol::find_conflict(entry.given.parameters, group_.parameters())) {
    return Error(ErrorCode::conflict,
                 fmt::format("{} was computed with another {} than the workers run with; start them "
                             "as it was, or submit the document again",
                             name, *field),
                 *field);
  }
  const auto absent = absent_volumes(entry);
  if (absent.empty()) return std::nullopt;
  return Error(ErrorCode::unavailable,
               fmt::format("{} needs volume {}, which no worker holds{}", name, absent.front(),
                           absent.size() > 1 ? fmt::format(" (nor {} others)", absent.size() - 1) : std::string()));
}

std::vector<std::string> ContextService::absent_volumes(const Entry& entry) const {
  std::set<protocol::VolumeId> absent;
  if (!group_.is_ready()) return {};
  for (const protocol::ObjectRecord& chunk : entry.given.chunks) {
    for (const protocol::VolumeManifest& manifest : chunk.manifests) {
      if (!group_.holds(manifest.volume)) absent.insert(manifest.volume);
    }
  }
  std::vector<std::string> names;
  for (const protocol::VolumeId volume : absent) names.push_back(fmt::format("{}", volume));
  return names;
}

ContextView ContextService::view(const Entry& entry) const {
  const ContextRecord& record = entry.record;
  ContextView view;
  view.id = public_id(record);
  view.status = record.status;
  view.description = record.description;
  view.parameters = record.parameters;
  view.source_bytes = record.source_bytes;
  view.chunks_repaired = record.chunks_repaired;
  view.shared_tokens = std::min(record.shared_tokens, record.description.token_count);  // more, after repairs
  view.last_error = record.last_error;
  view.verification = verifier_.view(record.id);
  if (view.verification && view.verification->chunks_damaged > 0) {
    view.verification->is_mending = !is_final(entry.given.status) || entry.given.status != record.status;
  }
  view.absent_volumes = absent_volumes(entry);
  if (!view.last_error && !is_final(record.status)) view.last_error = entry.blocked;
  if (!view.last_error && !is_final(record.status)) view.last_error = find_obstacle(entry);
  if (!view.last_error) view.last_error = entry.given.last_error;  // it has failed, and the catalogue cannot say so
  for (const protocol::ObjectRecord& chunk : record.chunks) view.chunks_committed += chunk.object ? 1 : 0;

  const bool is_computing = attempt_ && attempt_->context == record.id;
  if (is_computing) view.phase = "computing";
  if (tokenizing_ == record.id) view.phase = "tokenizing";

  ContextProgress& progress = view.progress;
  progress.total = record.description.token_count;
  progress.committed = committed_tokens(record.chunks, progress.total);
  progress.processed = progress.committed;
  progress.time_ms = record.compute_ms;
  if (is_computing) {
    const std::uint64_t elapsed = ceil_ms(loop_.now() - attempt_->started);
    progress.processed = std::min(progress.total, progress.committed + entry.chunk_tokens_computed);
    progress.time_ms += static_cast<std::int64_t>(elapsed);
    if (entry.chunk_tokens_computed > 0) {
      progress.eta_ms =
          static_cast<std::int64_t>((progress.total - progress.processed) * elapsed / entry.chunk_tokens_computed);
    }
  }
  if (group_.has_model()) {
    const StoredBytes stored = stored_bytes(progress.committed, group_.model().kv, record.parameters.retrieval);
    view.kv_bytes = stored.total;
    view.window_savings = stored.saved;
    view.numerics_changed = record.is_tokenized() && record.parameters.numerics_id != group_.parameters().numerics_id;
  }
  return view;
}

void ContextService::notify(Entry& changed) {
  // What a version does before it is complete is told to those who follow the context.
  Entry* followed = is_next_version(changed) ? named(public_id(changed.given)) : &changed;
  if (!followed) return;
  ++followed->event_sequence;
  if (followed->subscribers.empty()) return;
  const ContextEvent event{.sequence = followed->event_sequence, .view = shown(*followed)};
  // A subscriber may leave, or erase the context, while it is told.
  for (const auto& [number, on_event] : std::map(followed->subscribers)) on_event(event);
}

Capacity ContextService::capacity() const {
  return {.window = group_.model().context_length, .kv = group_.model().kv, .bytes_free = group_.bytes_free()};
}

SpooledDocument ContextService::spooled(const ContextRecord& record) const {
  SpooledDocument document = *record.source;
  document.path = config_.spool_directory / document.path;
  return document;
}

// The file is removed when the catalogue no longer names it.
std::filesystem::path ContextService::detach_source(Entry& entry) const {
  if (!entry.given.source) return {};
  const std::filesystem::path path = spooled(entry.given).path;
  entry.given.source.reset();
  return path;
}

void ContextService::submit(Entry& entry, CatalogueBatch batch, Catalogue::Kind kind, Catalogue::Done then) {
  batch.put_context(entry.given);
  catalogue_.commit(
      std::move(batch), kind,
      [this, id = entry.given.id, snapshot = entry.given, then](const std::optional<Error>& error) {
        const auto found = entries_.find(id);
        if (found == entries_.end()) return;
        if (error) {
          log_.error("catalogue_not_written", {{"context", protocol::to_string(id)}, {"error", error->message()}});
        } else {
          set_durable(*found->second, snapshot);
        }
        then(error);
        if (Entry* changed = this->entry(id)) {
          notify(*changed);
          on_changed_(id);
        }
      });
}

// Ends what is being done for a context, here and on the workers. Answers behind it end with CloseContext.
void ContextService::stop_work(Entry& entry) {
  const ContextId id = entry.given.id;
  if (tokenizing_ == id) {
    job_.reset();
    tokenizing_.reset();
  }
  if (attempt_ && attempt_->context == id && !attempt_->is_committing) {
    group_.send_work(protocol::CancelCompute{id});
    to_erase_.push_back(attempt_->object);
    attempt_.reset();
  }
  entry.retry.reset();
  if (entry.opened_in == group_.epoch()) group_.send_work(protocol::CloseContext{id});
  entry.opened_in.reset();
}

void ContextService::fail(Entry& entry, const Error& error) {
  if (is_next_version(entry)) {
    log_.warn("append_failed", {{"context", protocol::to_string(public_id(entry.given))}, {"reason", error.message()}});
    return give_up(entry, error);
  }
  stop_work(entry);
  entry.given.status = ContextStatus::failed;
  entry.given.last_error = error;
  log_.warn("context_failed", {{"context", protocol::to_string(entry.given.id)},
                               {"code", protocol::to_string(error.code())},
                               {"reason", error.message()}});
  const std::filesystem::path file = detach_source(entry);
  submit(entry, without_token_ids(entry.given.id), Catalogue::Kind::record,
         [this, file](const std::optional<Error>& not_written) {
           if (!not_written) remove_file(file);
           pump();
         });
}

void ContextService::erase_objects(std::vector<protocol::ObjectId> objects) {
  to_erase_.insert(to_erase_.end(), objects.begin(), objects.end());
  if (!group_.is_ready()) return;  // on_group_ready() comes back to it
  for (std::size_t begin = 0; begin < to_erase_.size(); begin += kObjectsPerMessage) {
    const auto first = to_erase_.begin() + static_cast<std::ptrdiff_t>(begin);
    const auto count = std::min(kObjectsPerMessage, to_erase_.size() - begin);
    group_.send_all(protocol::EraseObjects{.objects = {first, first + static_cast<std::ptrdiff_t>(count)},
                                           .catalogue_sequence = catalogue_.sequence()});
  }
  to_erase_.clear();
}

}  // namespace rotulus::coordinator
