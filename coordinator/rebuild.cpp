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
  Chunk& chunk = context.chunks[manifest.chunk_index];
  Object& object = chunk.objects[manifest.object];
  object.record.object = manifest.object;
  object.volumes_needed = count_volumes(manifest.placement);
  object.record.placement = std::move(manifest.placement);
  object.record.manifests.push_back({manifest.volume, hash});
  chunk.token_ids = std::move(manifest.token_ids);  // the same in all of them
}

std::pair<ContextRecord, std::vector<protocol::TokenId>> CatalogueRebuild::restore(ContextId id, Context context) {
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
  std::uint64_t tokens_lost = 0;
  for (std::uint32_t index = 0; index < record.chunks.size(); ++index) {
    Chunk& chunk = context.chunks[index];
    const std::uint64_t expected = protocol::chunk_range(index, tokens).count();
    if (chunk.token_ids.size() != expected) tokens_lost += expected;
    ids.insert(ids.end(), chunk.token_ids.begin(), chunk.token_ids.end());
    for (auto& [object_id, object] : chunk.objects) {
      if (object.record.manifests.size() == object.volumes_needed) record.chunks[index] = std::move(object.record);
    }
    if (record.chunks[index].object) ++chunks_complete;
    std::sort(record.chunks[index].manifests.begin(), record.chunks[index].manifests.end(),
              [](const auto& left, const auto& right) { return left.volume < right.volume; });
  }
  record.computed_before = tokens;
  record.status = chunks_complete == record.chunks.size() ? ContextStatus::completed : ContextStatus::in_progress;
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
  for (auto& [id, context] : contexts_) rebuilt.contexts.push_back(restore(id, std::move(context)));
  contexts_.clear();
  return rebuilt;
}

}  // namespace rotulus::coordinator
