#include "coordinator/rebuild.h"

#include <algorithm>
#include <set>

#include "protocol/token_range.h"

namespace rotulus::coordinator {
namespace {

// The lost catalogue may have given out ids that left nothing on the volumes present: new ones begin far behind.
constexpr std::uint64_t kIdGap = 1ull << 32;

std::uint32_t count_volumes(const protocol::Placement& placement) {
  std::set<protocol::VolumeId> volumes;
  for (const protocol::PlacementRun& run : placement) volumes.insert(run.volume);
  return static_cast<std::uint32_t>(volumes.size());
}

protocol::ObjectRecord sorted(protocol::ObjectRecord record) {
  std::sort(record.manifests.begin(), record.manifests.end(),
            [](const auto& left, const auto& right) { return left.volume < right.volume; });
  return record;
}

}  // namespace

void CatalogueRebuild::add(protocol::ManifestRecord manifest, std::uint64_t hash) {
  last_object_ = std::max(last_object_, manifest.object);
  last_context_ = std::max(last_context_, manifest.context);
  // Records of another store are not ours to name; the volume is refused when it is reconciled.
  if (manifest.store != store_) return;
  Context& context = contexts_[manifest.context];
  if (manifest.object >= context.described_by) {
    context.described_by = manifest.object;
    context.parameters = manifest.parameters;
    context.description = manifest.description;
  }
  if (!manifest.objects.empty()) context.listing = std::max(context.listing.value_or(manifest.object), manifest.object);
  Object& object = objects_[manifest.object];
  object.record.object = manifest.object;
  object.volumes_needed = count_volumes(manifest.placement);
  object.record.placement = std::move(manifest.placement);
  object.record.manifests.push_back({manifest.volume, hash});
  object.computed_for = manifest.context;
  object.chunk_index = manifest.chunk_index;
  object.token_ids = std::move(manifest.token_ids);  // the same in all of them
  object.objects = std::move(manifest.objects);
}

// To the contexts that they belong to.
void CatalogueRebuild::deal_objects() {
  std::set<protocol::ObjectId> listed;
  for (auto& [id, context] : contexts_) {
    if (!context.listing) continue;
    std::uint32_t chunk = 0;
    for (const protocol::ObjectId object : objects_.at(*context.listing).objects) {
      listed.insert(object);
      context.objects[chunk++].insert(object);
    }
  }
  for (const auto& [id, object] : objects_) {
    if (!object.objects.empty() || listed.contains(id)) continue;
    contexts_.at(object.computed_for).objects[object.chunk_index].insert(id);
  }
}

std::pair<ContextRecord, std::vector<protocol::TokenId>> CatalogueRebuild::restore(ContextId id,
                                                                                   const Context& context) const {
  ContextRecord record;
  record.id = id;
  record.parameters = context.parameters;
  record.description = context.description;
  // Manifests do not say what was pinned since: what may have been is kept.
  if (!record.description.is_anonymous) record.description.expires_at_unix_ms = 0;
  const std::uint64_t tokens = context.description.token_count;
  record.chunks.resize(protocol::chunk_count(tokens));
  std::vector<protocol::TokenId> ids;
  std::uint64_t chunks_complete = 0;
  for (const auto& [index, objects] : context.objects) {
    if (index >= record.chunks.size()) continue;
    const std::uint64_t expected = protocol::chunk_range(index, tokens).count();
    const std::vector<protocol::TokenId>* found = nullptr;
    for (const protocol::ObjectId object_id : objects) {
      const auto object = objects_.find(object_id);
      if (object == objects_.end() || object->second.token_ids.size() != expected) continue;
      found = &object->second.token_ids;
      if (!object->second.is_complete()) continue;
      record.chunks[index] = sorted(object->second.record);
    }
    // Ascending: what is lost before shifts what is behind it, but then no id is used.
    if (found) ids.insert(ids.end(), found->begin(), found->end());
    if (!record.chunks[index].object) continue;
    ++chunks_complete;
    if (objects_.at(record.chunks[index].object).computed_for != id) record.shared_tokens += expected;
  }
  const std::uint64_t tokens_lost = tokens - ids.size();
  record.computed_before = tokens;
  record.status = chunks_complete == record.chunks.size() ? ContextStatus::completed : ContextStatus::in_progress;
  if (context.listing && objects_.at(*context.listing).is_complete()) {
    const Object& listing = objects_.at(*context.listing);
    record.listing = Listing{.record = sorted(listing.record), .objects = listing.objects};
  }
  if (tokens_lost != 0) {
    record.status = ContextStatus::failed;
    record.last_error = protocol::Error(
        protocol::ErrorCode::storage_corrupt,
        fmt::format("the catalogue was rebuilt: the volumes have {} of {} chunks, and the token ids of {} of {} tokens "
                    "are lost; submit the document again",
                    chunks_complete, record.chunks.size(), tokens_lost, tokens));
    ids.clear();
  } else {
    PrefixChain prefixes;
    prefixes.append(ids);
    record.prefix_keys = prefixes.keys(record.parameters);
  }
  return {std::move(record), std::move(ids)};
}

Catalogue::Rebuilt CatalogueRebuild::finish() {
  Catalogue::Rebuilt rebuilt;
  rebuilt.store = store_;
  rebuilt.sequence = sequence_ + 1;
  rebuilt.first_object = last_object_.value + kIdGap;
  rebuilt.first_context = last_context_.value + kIdGap;
  deal_objects();
  for (const auto& [id, context] : contexts_) {
    if (!context.objects.empty()) rebuilt.contexts.push_back(restore(id, context));
  }
  return rebuilt;
}

}  // namespace rotulus::coordinator
