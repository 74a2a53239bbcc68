// The sharing half of ContextService: which contexts have a chunk already, and when an object is nobody's any more.

#include <algorithm>
#include <set>
#include <utility>

#include "coordinator/context_entry.h"
#include "coordinator/context_service.h"

namespace rotulus::coordinator {

using protocol::Error;
using protocol::ObjectId;
using protocol::ObjectRecord;

namespace {

constexpr std::uint32_t kMaxListingAttempts = 3;

std::vector<ObjectId> objects_of(const std::vector<ObjectRecord>& chunks) {
  std::vector<ObjectId> objects;
  objects.reserve(chunks.size());
  for (const ObjectRecord& chunk : chunks) objects.push_back(chunk.object);
  return objects;
}

bool lists(const std::vector<ObjectId>& objects, const std::vector<ObjectRecord>& chunks) {
  return std::equal(objects.begin(), objects.end(), chunks.begin(), chunks.end(),
                    [](ObjectId object, const ObjectRecord& chunk) { return object == chunk.object; });
}

bool lists(const std::optional<Listing>& listing, const std::vector<ObjectRecord>& chunks) {
  return listing && lists(listing->objects, chunks);
}

ObjectId object_at(const ContextRecord& record, std::size_t chunk) {
  return chunk < record.chunks.size() ? record.chunks[chunk].object : ObjectId{};
}

}  // namespace

void ContextService::set_durable(Entry& entry, ContextRecord durable) {
  const ContextRecord before = std::exchange(entry.record, std::move(durable));
  for (std::size_t chunk = 0; chunk < std::max(before.prefix_keys.size(), entry.record.prefix_keys.size()); ++chunk) {
    const bool was_there = chunk < before.prefix_keys.size() && object_at(before, chunk);
    const bool is_there = chunk < entry.record.prefix_keys.size() && object_at(entry.record, chunk);
    if (was_there) forget_prefix(before.prefix_keys[chunk], before.id);
    if (is_there) prefixes_[entry.record.prefix_keys[chunk]].insert(entry.record.id);
  }
}

void ContextService::forget_prefix(const PrefixKey& key, ContextId id) {
  const auto found = prefixes_.find(key);
  if (found == prefixes_.end()) return;
  found->second.erase(id);
  if (found->second.empty()) prefixes_.erase(found);
}

// Durable in another context, not about to change there, and on volumes that are held.
const ObjectRecord* ContextService::find_shared(const ContextRecord& wanting, std::uint32_t chunk) const {
  if (chunk >= wanting.prefix_keys.size()) return nullptr;
  const auto holders = prefixes_.find(wanting.prefix_keys[chunk]);
  if (holders == prefixes_.end()) return nullptr;
  for (const ContextId id : holders->second) {
    const Entry* holder = id == wanting.id ? nullptr : entry(id);
    if (!holder || object_at(holder->given, chunk) != object_at(holder->record, chunk)) continue;
    const ObjectRecord& record = holder->record.chunks[chunk];
    const bool is_held = std::all_of(record.manifests.begin(), record.manifests.end(),
                                     [&](const auto& manifest) { return group_.holds(manifest.volume); });
    if (is_held) return &record;
  }
  return nullptr;
}

ContextService::Shared ContextService::share_prefix(Entry& entry, CatalogueBatch& batch) {
  ContextRecord& given = entry.given;
  Shared shared;
  for (auto next = next_chunk(given.chunks); next; next = next_chunk(given.chunks)) {
    const ObjectRecord* found = find_shared(given, *next);
    if (!found) break;
    if (!given.description.is_anonymous) {
      want_listing(entry);
      for (const ContextId holder : prefixes_.at(given.prefix_keys[*next])) want_listing(*entries_.at(holder));
    }
    given.chunks[*next] = *found;
    batch.put_chunk(given.id, *next, *found);
    const protocol::TokenRange range = protocol::chunk_range(*next, given.description.token_count);
    shared.chunks.push_back(*next);
    shared.tokens += range.count();
    entry.computed_before = std::max(entry.computed_before, range.end);
  }
  if (shared.chunks.empty()) return shared;
  given.shared_tokens += shared.tokens;
  if (is_whole(entry) && !entry.wants_listing) given.status = ContextStatus::completed;
  // The group is to hear of the new objects before it computes behind them.
  if (entry.opened_in == group_.epoch()) group_.send_work(protocol::CloseContext{given.id});
  entry.opened_in.reset();
  catalogue_.note_computed(given.id, entry.computed_before);
  return shared;
}

void ContextService::on_shared(ContextId id, const Shared& shared) {
  metrics_.add_shared_tokens(shared.tokens);
  const Entry& sharing = *entry(id);
  log_.info("chunks_shared", {{"context", protocol::to_string(id)},
                              {"chunks", shared.chunks.size()},
                              {"tokens", shared.tokens},
                              {"first_object", sharing.record.chunks[shared.chunks.front()].object}});
}

// What could not be recorded is not listed after all; whoever had it may be gone meanwhile.
void ContextService::take_back(Entry& entry, const Shared& shared) {
  std::vector<ObjectId> objects;
  for (const std::uint32_t chunk : shared.chunks) {
    objects.push_back(std::exchange(entry.given.chunks[chunk], {}).object);
  }
  entry.given.shared_tokens -= shared.tokens;
  release(std::move(objects));
}

void ContextService::pump_sharing() {
  std::vector<ContextId> ids;
  for (const auto& [id, found] : entries_) {
    const bool is_computing = attempt_ && attempt_->context == id;
    if (may_work(*found) && found->record.is_tokenized() && !is_computing && !find_obstacle(*found)) ids.push_back(id);
  }
  for (const ContextId id : ids) {
    Entry* sharing = entry(id);
    if (!sharing) continue;
    CatalogueBatch batch;
    const Shared shared = share_prefix(*sharing, batch);
    if (shared.chunks.empty()) continue;
    submit(*sharing, std::move(batch), Catalogue::Kind::record, [this, id, shared](const std::optional<Error>& error) {
      Entry* recorded = entry(id);
      if (!recorded) return pump();
      if (error) {
        take_back(*recorded, shared);
        return fail(*recorded, *error);
      }
      on_shared(id, shared);
      note_completed(*recorded);
      pump();
    });
  }
}

// Erases those of the objects that no context lists.
void ContextService::release(std::vector<ObjectId> objects) {
  std::set<ObjectId> dead(objects.begin(), objects.end());
  dead.erase(ObjectId{});
  for (const auto& [id, found] : entries_) {
    for (const ContextRecord* record : {&found->record, &found->given}) {
      for (const ObjectRecord& chunk : record->chunks) dead.erase(chunk.object);
      if (record->listing) dead.erase(record->listing->record.object);
    }
  }
  erase_objects({dead.begin(), dead.end()});
}

// ---------------------------------------------------------------------------------------------------------------
// Listings: what a lost catalogue is rebuilt from where objects are shared

void ContextService::want_listing(Entry& entry) {
  // What only a running answer needs is not rebuilt.
  entry.wants_listing = !entry.given.description.is_anonymous && !lists(entry.given.listing, entry.given.chunks);
}

// Of all contexts, as they were read.
void ContextService::want_listings() {
  std::map<ObjectId, std::size_t> contexts;  // that are kept, by object
  for (const auto& [id, found] : entries_) {
    if (found->given.description.is_anonymous) continue;
    for (const ObjectRecord& chunk : found->given.chunks) ++contexts[chunk.object];
  }
  for (const auto& [id, found] : entries_) {
    const auto& chunks = found->given.chunks;
    const bool is_sharing =
        found->given.shared_tokens > 0 || std::any_of(chunks.begin(), chunks.end(), [&](const ObjectRecord& chunk) {
          return chunk.object && contexts[chunk.object] > 1;
        });
    if (is_sharing) want_listing(*found);
  }
}

bool ContextService::is_whole(const Entry& entry) const {
  return entry.given.is_tokenized() && !next_chunk(entry.given.chunks);
}

// Those that were completed first: what they share is to be named as theirs before another names it.
ContextService::Entry* ContextService::next_to_list() {
  Entry* unfinished = nullptr;
  for (const auto& [id, found] : entries_) {
    if (!found->wants_listing || found->is_erased || found->retry || is_draining_) continue;
    if (found->record.status == ContextStatus::completed && found->given.status == ContextStatus::completed) {
      return found.get();
    }
    const bool is_durable = lists(objects_of(found->given.chunks), found->record.chunks);
    if (!unfinished && may_work(*found) && is_whole(*found) && is_durable) unfinished = found.get();
  }
  return unfinished;
}

void ContextService::pump_listing() {
  if (listing_attempt_) return;
  Entry* listed = next_to_list();
  const auto object = listed ? catalogue_.next_object() : std::nullopt;
  if (!object) return;
  protocol::CommitListing order{.record = {.object = *object}, .catalogue_sequence = catalogue_.sequence()};
  order.record.context = listed->given.id;
  order.record.parameters = listed->given.parameters;
  order.record.description = listed->given.description;
  order.record.objects = objects_of(listed->given.chunks);
  listing_attempt_ = ListingAttempt{listed->given.id, {.record = {.object = *object}, .objects = order.record.objects}};
  try {
    group_.send_work(order);
  } catch (const Error& too_large) {
    listing_attempt_.reset();
    on_listing_failed(*listed, too_large);
  }
}

void ContextService::on_listed(const protocol::ListingCommitted& listed) {
  const ObjectId object = listed.record.object;
  if (!listing_attempt_ || listing_attempt_->listing.record.object != object) return release({object});
  Listing listing = std::move(std::exchange(listing_attempt_, {})->listing);
  listing.record = listed.record;
  Entry* found = entry(listed.context);
  const bool is_wanted = found && found->wants_listing && is_whole(*found) && lists(listing, found->given.chunks) &&
                         (found->given.status == ContextStatus::completed || may_work(*found));
  if (!is_wanted || listed.error) {
    release({object});
    if (is_wanted)
      on_listing_failed(*found, Error(*listed.error, "writing the list of its objects: " + listed.message));
    return pump();
  }
  const std::optional<Listing> before = std::exchange(found->given.listing, listing);
  const bool ends_ingest = std::exchange(found->given.status, ContextStatus::completed) != ContextStatus::completed;
  found->wants_listing = false;
  found->attempts = 0;
  CatalogueBatch batch;
  batch.put_listing(listed.context, listing);
  submit(*found, std::move(batch), Catalogue::Kind::record, [=, this](const std::optional<Error>& error) {
    Entry* recorded = entry(listed.context);
    if (!recorded) return pump();
    if (error) {
      recorded->given.listing = before;
      recorded->wants_listing = true;
      on_listing_failed(*recorded, *error);
      return release({object});
    }
    if (before) release({before->record.object});
    if (ends_ingest) note_completed(*recorded);
    pump();
  });
}

// A context that is completed stays so: its list is written with the next group.
void ContextService::on_listing_failed(Entry& entry, const Error& error) {
  log_.warn("listing_failed", {{"context", protocol::to_string(entry.given.id)}, {"reason", error.message()}});
  const bool was_there = entry.record.status == ContextStatus::completed;
  if (++entry.attempts < kMaxListingAttempts) return retry_later(entry);
  if (!was_there) return fail(entry, error);
  entry.wants_listing = false;
  entry.attempts = 0;
}

// It cannot be read as the catalogue names it.
void ContextService::drop_listing(Entry& entry) {
  const ObjectId object = std::exchange(entry.given.listing, {})->record.object;
  want_listing(entry);
  CatalogueBatch batch;
  batch.erase_listing(entry.given.id);
  submit(entry, std::move(batch), Catalogue::Kind::record, [this, object](const std::optional<Error>& error) {
    if (!error) release({object});
  });
}

// What a document could find in the store already, at most: it takes no room of its own.
std::uint64_t ContextService::most_shared_bytes() const {
  std::uint64_t most = 0;
  for (const auto& [id, found] : entries_) {
    const ContextRecord& record = found->record;
    if (record.prefix_keys.empty()) continue;
    const std::uint64_t tokens = committed_tokens(record.chunks, record.description.token_count);
    most = std::max(most, stored_bytes(tokens, group_.model().kv, record.parameters.retrieval).total);
  }
  return most;
}

}  // namespace rotulus::coordinator
