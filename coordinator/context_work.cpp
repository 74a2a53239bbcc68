// The working half of ContextService: what is tokenized or computed next, and what comes of it.

#include <algorithm>
#include <tuple>
#include <utility>

#include "coordinator/context_entry.h"
#include "coordinator/context_service.h"

namespace rotulus::coordinator {

using protocol::Error;
using protocol::ErrorCode;

namespace {

KeptForRetrieval kept_for_retrieval(const protocol::ContextDescription& description) {
  return {.mode = description.attention, .landmarks = description.landmarks};
}

// Failures of one chunk since the last commit of its context, after which the context is failed. A lost group is most
// often not the chunk's fault; that it takes the group down each time is believed late.
constexpr std::uint32_t kMaxAttempts = 3;
constexpr std::uint32_t kMaxGroupsLost = 100;

// The same input would fail in the same way.
bool is_final(ErrorCode code) {
  switch (code) {
    case ErrorCode::invalid_argument:
    case ErrorCode::not_found:
    case ErrorCode::conflict:
    case ErrorCode::context_length_exceeded:
    case ErrorCode::unsupported:
    case ErrorCode::storage_full:
    case ErrorCode::payload_too_large:
      return true;
    default:
      return false;
  }
}

}  // namespace

void ContextService::pump() {
  if (!group_.is_ready()) return;
  pump_tokenizing();
  pump_sharing();
  pump_listing();
  pump_computing();
}

bool ContextService::may_work(const Entry& entry) const {
  const bool is_unfinished =
      entry.given.status == ContextStatus::queued || entry.given.status == ContextStatus::in_progress;
  if (!is_unfinished || entry.is_erased || entry.retry || entry.blocked) return false;
  return !is_draining_ || entry.holds > 0;
}

void ContextService::pump_tokenizing() {
  if (tokenizing_) return;
  Entry* first = nullptr;
  for (const auto& [id, found] : entries_) {
    // Accepted is what is durable: nothing is done for a document that may yet be refused.
    if (!may_work(*found) || found->given.is_tokenized() || !found->record.source) continue;
    const bool goes_first = !first || (found->given.description.is_anonymous && !first->given.description.is_anonymous);
    if (goes_first) first = found.get();
  }
  if (first) start_tokenizing(*first);
}

void ContextService::start_tokenizing(Entry& entry) {
  tokenizing_ = entry.given.id;
  TokenizeJob::Input input{.context = entry.given.id, .document = spooled(entry.given)};
  input.frame = entry.given.description.frame;
  input.system = entry.given.description.system;
  input.kept = kept_for_retrieval(entry.given.description);
  input.capacity = capacity();
  input.capacity.bytes_free += most_shared_bytes();
  input.vocabulary = group_.model().vocabulary;
  job_ = std::make_unique<TokenizeJob>(
      loop_, texts_, catalogue_, std::move(input),
      [this, id = entry.given.id](const std::optional<Error>& error, TokenizedDocument document) {
        on_tokenized(id, error, std::move(document));
      });
  notify(entry);
}

void ContextService::on_tokenized(ContextId id, const std::optional<Error>& error, TokenizedDocument document) {
  job_.reset();
  tokenizing_.reset();
  Entry* found = entry(id);
  CHECK(found != nullptr, id);  // stop_work() ends the job
  if (error && (error->code() == ErrorCode::unavailable || error->code() == ErrorCode::deadline_exceeded)) {
    retry_later(*found);
    return pump();
  }
  if (error) return fail(*found, *error);

  ContextRecord& given = found->given;
  given.description.token_count = document.token_count;
  given.parameters = group_.parameters();
  given.parameters.retrieval =
      plan_retrieval(kept_for_retrieval(given.description), document.token_count, group_.model().context_length);
  given.chunks.assign(protocol::chunk_count(document.token_count), {});
  given.prefix_keys = document.prefixes.keys(given.parameters);
  given.status = ContextStatus::in_progress;
  CatalogueBatch batch;
  const Shared shared = share_prefix(*found, batch);
  if (const auto full = check_disk(given.chunks, document.token_count, given.parameters.retrieval, capacity())) {
    take_back(*found, shared);
    return fail(*found, *full);
  }
  batch.put_token_ids(id, document.last_piece, document.last_ids);
  // A document may be appended to, and is small beside its keys; a prompt is not kept.
  const auto file = given.description.is_anonymous ? detach_source(*found) : std::filesystem::path();
  submit(*found, std::move(batch), Catalogue::Kind::record, [=, this](const std::optional<Error>& not_written) {
    Entry* tokenized = entry(id);
    if (!tokenized) return;
    if (not_written) {
      take_back(*tokenized, shared);
      return fail(*tokenized, *not_written);
    }
    std::error_code ignored;
    std::filesystem::remove(file, ignored);
    log_.info("context_tokenized", {{"context", protocol::to_string(id)},
                                    {"tokens", tokenized->record.description.token_count},
                                    {"landmark_version", tokenized->record.parameters.retrieval.landmark_version}});
    if (!shared.chunks.empty()) on_shared(id, shared);
    note_completed(*tokenized);
    pump();
  });
}

ContextService::Entry* ContextService::next_to_compute() {
  const auto rank = [](const Entry& entry) {
    return std::tuple(!entry.was_completed, !entry.given.description.is_anonymous);
  };
  Entry* best = nullptr;
  for (const auto& [id, found] : entries_) {
    const bool is_durable = found->record.is_tokenized();
    if (!may_work(*found) || !is_durable || find_obstacle(*found) || !next_chunk(found->given.chunks)) continue;
    if (!best || rank(*found) < rank(*best)) best = found.get();
  }
  return best;
}

void ContextService::pump_computing() {
  if (attempt_) return;
  Entry* next = next_to_compute();
  if (!next) return;
  // A context that was interrupted may find less room than it had when it was accepted.
  const auto full =
      check_disk(next->given.chunks, next->given.description.token_count, next->given.parameters.retrieval, capacity());
  if (full && !next->was_completed) return fail(*next, *full);
  start_chunk(*next, *next_chunk(next->given.chunks));
}

void ContextService::start_chunk(Entry& entry, std::uint32_t chunk_index) {
  const auto object = catalogue_.next_object();
  if (!object) {
    return fail(entry, Error(ErrorCode::storage_full, "no object id could be reserved: the catalogue's disk is full"));
  }
  const ContextId id = entry.given.id;
  attempt_ = Attempt{.context = id, .chunk_index = chunk_index, .object = *object, .started = loop_.now()};
  entry.chunk_tokens_computed = 0;
  const protocol::TokenRange range = protocol::chunk_range(chunk_index, entry.given.description.token_count);
  catalogue_.read_token_ids(
      id, range, [this, attempt = *attempt_](const std::optional<Error>& error, std::vector<protocol::TokenId> ids) {
        if (!is_current(attempt)) return;
        if (!error) return give_chunk(attempt, std::move(ids));
        attempt_.reset();
        fail(*this->entry(attempt.context), *error);
      });
  notify(entry);
}

void ContextService::give_chunk(const Attempt& attempt, std::vector<protocol::TokenId> ids) {
  Entry& computed = *entry(attempt.context);
  const protocol::TokenRange range = protocol::chunk_range(attempt.chunk_index, computed.given.description.token_count);
  try {
    open_on_group(attempt.context);
    group_.send_work(protocol::ContextTokens{.context = attempt.context, .offset = range.begin, .ids = std::move(ids)});
    group_.send_work(protocol::ComputeChunk{.context = attempt.context,
                                            .chunk_index = attempt.chunk_index,
                                            .object = attempt.object,
                                            .computed_before = computed.computed_before,
                                            .catalogue_sequence = catalogue_.sequence()});
  } catch (const Error& too_large) {
    attempt_.reset();
    fail(computed, too_large);
  }
}

bool ContextService::is_current(const Attempt& attempt) const {
  return attempt_ && attempt_->object == attempt.object;
}

// ---------------------------------------------------------------------------------------------------------------
// What the workers report

void ContextService::on_message(const protocol::Message& message) {
  if (slices_.on_message(message)) return;
  if (const auto* progress = std::get_if<protocol::ChunkProgress>(&message)) return on_progress(*progress);
  if (const auto* committed = std::get_if<protocol::ChunkCommitted>(&message)) return on_committed(*committed);
  if (const auto* listed = std::get_if<protocol::ListingCommitted>(&message)) return on_listed(*listed);
  if (const auto* failed = std::get_if<protocol::ComputeFailed>(&message)) return on_failed(*failed);
  if (const auto* damaged = std::get_if<protocol::ChunkDamaged>(&message)) return on_damaged(*damaged);
  if (const auto* verified = std::get_if<protocol::ObjectVerified>(&message)) return verifier_.on_verified(*verified);
}

Verifier::Owner ContextService::owner_of_verifier() {
  return {.chunks =
              [this](ContextId id) {
                const Entry* found = entry(id);
                return found ? &found->given.chunks : nullptr;
              },
          .on_damaged = [this](const protocol::ChunkDamaged& damaged) { on_damaged(damaged); },
          .on_finished =
              [this](ContextId id, const VerificationView& view) {
                log_.info("context_verified", {{"context", protocol::to_string(id)},
                                               {"chunks", view.chunks_read},
                                               {"blocks_verified", view.blocks_verified},
                                               {"blocks_damaged", view.blocks_damaged},
                                               {"reason", view.error ? view.error->message() : std::string()}});
              }};
}

void ContextService::on_progress(const protocol::ChunkProgress& progress) {
  Entry* computed = entry(progress.context);
  if (!computed || !attempt_ || attempt_->context != progress.context) return;
  const protocol::TokenRange range =
      protocol::chunk_range(attempt_->chunk_index, computed->given.description.token_count);
  if (progress.processed < range.begin || progress.processed > range.end) return;
  computed->chunk_tokens_computed = progress.processed - range.begin;
  if (progress.processed > computed->computed_before) {
    computed->computed_before = progress.processed;
    catalogue_.note_computed(progress.context, progress.processed);
  }
  notify(*computed);
}

void ContextService::on_committed(const protocol::ChunkCommitted& committed) {
  Entry* computed = entry(committed.context);
  const bool is_present = computed && attempt_ && attempt_->context == committed.context &&
                          attempt_->chunk_index == committed.chunk_index && !attempt_->is_committing &&
                          attempt_->object == committed.record.object;
  if (!is_present) return erase_objects({committed.record.object});
  const auto elapsed = loop_.now() - attempt_->started;
  const protocol::TokenRange range =
      protocol::chunk_range(committed.chunk_index, computed->given.description.token_count);
  costs_.observe(range, computed->given.parameters.retrieval, std::chrono::duration<double>(elapsed).count());
  attempt_->is_committing = true;
  computed->chunk_tokens_computed = range.count();
  // A rank that reports no progress of a short chunk has computed it all the same.
  computed->computed_before = std::max(computed->computed_before, range.end);
  catalogue_.note_computed(committed.context, computed->computed_before);

  ContextRecord& given = computed->given;
  given.chunks[committed.chunk_index] = committed.record;
  given.compute_ms += std::chrono::duration_cast<std::chrono::milliseconds>(elapsed).count();
  if (is_whole(*computed) && !computed->wants_listing) given.status = ContextStatus::completed;
  CatalogueBatch batch;
  batch.put_chunk(committed.context, committed.chunk_index, committed.record);
  submit(*computed, std::move(batch), Catalogue::Kind::record,
         [this, id = committed.context, index = committed.chunk_index](const std::optional<Error>& error) {
           on_recorded(id, index, error);
         });
}

void ContextService::on_recorded(ContextId id, std::uint32_t chunk_index, const std::optional<Error>& error) {
  attempt_.reset();
  Entry* recorded = entry(id);
  if (!recorded) return pump();  // erased meanwhile, and its objects with it
  recorded->chunk_tokens_computed = 0;
  if (error) {
    release({std::exchange(recorded->given.chunks[chunk_index], {}).object});
    return fail(*recorded, *error);
  }
  recorded->attempts = 0;
  recorded->groups_lost = 0;
  const std::uint64_t tokens = protocol::chunk_range(chunk_index, recorded->record.description.token_count).count();
  metrics_.count_chunk_committed(tokens);
  log_.info("chunk_committed", {{"context", protocol::to_string(id)},
                                {"chunk", chunk_index},
                                {"tokens", tokens},
                                {"object", recorded->record.chunks[chunk_index].object}});
  note_completed(*recorded);
  pump();
}

void ContextService::note_completed(Entry& entry) {
  if (entry.record.status != ContextStatus::completed) return;
  entry.was_completed = true;
  entry.last_used_ms = loop_.unix_ms();
  log_.info("context_completed", {{"context", protocol::to_string(entry.record.id)},
                                  {"tokens", entry.record.description.token_count},
                                  {"shared_tokens", entry.record.shared_tokens},
                                  {"compute_ms", entry.record.compute_ms}});
  if (is_next_version(entry)) take_over(entry);
}

void ContextService::on_failed(const protocol::ComputeFailed& failed) {
  const bool is_present = attempt_ && attempt_->context == failed.context &&
                          attempt_->chunk_index == failed.chunk_index && !attempt_->is_committing;
  if (!is_present) return;
  attempt_.reset();
  Entry* computed = entry(failed.context);
  CHECK(computed != nullptr, failed.context);  // stop_work() ends the attempt
  computed->chunk_tokens_computed = 0;
  const Error error(failed.code, fmt::format("computing chunk {}: {}", failed.chunk_index, failed.message));
  if (failed.code == ErrorCode::unavailable) {  // a volume is absent: the next group may have it
    log_.warn("context_blocked", {{"context", protocol::to_string(failed.context)}, {"reason", failed.message}});
    computed->blocked = error;
    notify(*computed);
    return pump();
  }
  if (is_final(failed.code) || ++computed->attempts >= kMaxAttempts) return fail(*computed, error);
  log_.warn("chunk_failed", {{"context", protocol::to_string(failed.context)},
                             {"chunk", failed.chunk_index},
                             {"attempt", computed->attempts},
                             {"reason", failed.message}});
  retry_later(*computed);
  pump();
}

void ContextService::on_damaged(const protocol::ChunkDamaged& damaged) {
  Entry* found = entry(damaged.context);
  if (!found || damaged.chunk_index >= found->given.chunks.size()) return;
  if (found->given.chunks[damaged.chunk_index].object != damaged.object) return;  // in repair already
  log_.error("chunk_damaged", {{"context", protocol::to_string(damaged.context)},
                               {"chunk", damaged.chunk_index},
                               {"object", damaged.object},
                               {"reason", damaged.message}});
  for (const auto& [id, listing] : entries_) {  // all that list it: at the same place, for what is shared is a prefix
    const auto& chunks = listing->given.chunks;
    const bool lists_it = damaged.chunk_index < chunks.size() && chunks[damaged.chunk_index].object == damaged.object;
    if (lists_it && !listing->is_erased) begin_repair(*listing, damaged.chunk_index);
  }
  pump();
}

void ContextService::begin_repair(Entry& entry, std::uint32_t chunk_index) {
  const ContextId id = entry.given.id;
  stop_work(entry);  // the group forgets what it knew of the chunk
  const protocol::ObjectId object = std::exchange(entry.given.chunks[chunk_index], {}).object;
  // A finished context that failed or was cancelled has no reader: its chunk is missing, and stays so.
  if (entry.given.status == ContextStatus::completed) {
    entry.was_completed = true;
    entry.given.status = ContextStatus::in_progress;
  }
  if (entry.given.listing) want_listing(entry);
  ++entry.given.chunks_repaired;
  metrics_.count_chunk_repaired();
  CatalogueBatch batch;
  batch.erase_chunk(id, chunk_index);
  submit(entry, std::move(batch), Catalogue::Kind::record, [this, id, object](const std::optional<Error>& error) {
    if (!error) return release({object});
    if (Entry* damaged = this->entry(id)) fail(*damaged, *error);
  });
  on_changed_(id);
}

void ContextService::retry_later(Entry& entry) {
  entry.retry = loop_.after(config_.retry_delay, [this, id = entry.given.id] {
    if (Entry* waiting = this->entry(id)) waiting->retry.reset();
    pump();
  });
}

// ---------------------------------------------------------------------------------------------------------------
// The group

void ContextService::on_group_ready() {
  costs_ = {};
  erase_objects({});
  for (const auto& [id, found] : entries_) {
    found->blocked.reset();
    if (const auto obstacle = find_obstacle(*found); obstacle && !found->is_erased) {
      log_.warn("context_not_usable", {{"context", protocol::to_string(id)}, {"reason", obstacle->message()}});
    }
  }
  pump();
  verifier_.on_group_ready();
}

void ContextService::on_group_lost(const std::string&) {
  verifier_.on_group_lost();
  slices_.on_group_lost();
  job_.reset();
  if (Entry* waiting = tokenizing_ ? entry(*tokenizing_) : nullptr) {
    tokenizing_.reset();
    notify(*waiting);
  }
  tokenizing_.reset();
  if (listing_attempt_) to_erase_.push_back(std::exchange(listing_attempt_, {})->listing.record.object);
  // What its volumes have acknowledged is durable there: its record is on its way.
  if (!attempt_ || attempt_->is_committing) return;
  to_erase_.push_back(attempt_->object);
  Entry* interrupted = entry(attempt_->context);
  const std::uint32_t chunk_index = attempt_->chunk_index;
  attempt_.reset();
  if (!interrupted) return;
  interrupted->chunk_tokens_computed = 0;
  if (++interrupted->groups_lost >= kMaxGroupsLost) {
    return fail(*interrupted,
                Error(ErrorCode::internal, fmt::format("the worker group was lost {} times while chunk {} "
                                                       "was computed",
                                                       kMaxGroupsLost, chunk_index)));
  }
  notify(*interrupted);
}

void ContextService::drain() {
  is_draining_ = true;
  if (tokenizing_ && entry(*tokenizing_)->holds == 0) {
    job_.reset();
    tokenizing_.reset();
  }
  if (attempt_ && !attempt_->is_committing && entry(attempt_->context)->holds == 0) {
    group_.send_work(protocol::CancelCompute{attempt_->context});
    to_erase_.push_back(attempt_->object);
    attempt_.reset();
  }
}

}  // namespace rotulus::coordinator
