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
    given.chunks[*next] = *found;
    batch.put_chunk(given.id, *next, *found);
    const protocol::TokenRange range = protocol::chunk_range(*next, given.description.token_count);
    shared.chunks.push_back(*next);
    shared.tokens += range.count();
    entry.computed_before = std::max(entry.computed_before, range.end);
  }
  if (shared.chunks.empty()) return shared;
  given.shared_tokens += shared.tokens;
  if (!next_chunk(given.chunks)) given.status = ContextStatus::completed;
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
    CatalogueBatch batch;
    Entry& sharing = *entry(id);
    const Shared shared = share_prefix(sharing, batch);
    if (shared.chunks.empty()) continue;
    submit(sharing, std::move(batch), Catalogue::Kind::record, [this, id, shared](const std::optional<Error>& error) {
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
    }
  }
  erase_objects({dead.begin(), dead.end()});
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
