// The travelling half of ContextService: contexts that leave as files, and come as files.

#include <algorithm>
#include <span>
#include <utility>

#include "coordinator/context_entry.h"
#include "coordinator/context_export.h"
#include "coordinator/context_service.h"
#include "protocol/limits.h"

namespace rotulus::coordinator {

using protocol::Error;
using protocol::ErrorCode;

std::shared_ptr<void> ContextService::take_transfer_slot() const {
  if (!group_.is_ready()) {
    throw Error(ErrorCode::unavailable, "contexts leave and come by a worker group's volumes: " + group_.state());
  }
  if (transfer_slots_.use_count() > static_cast<long>(protocol::kMaxTransfers)) {
    throw Error(ErrorCode::unavailable,
                fmt::format("{} exports and imports are under way, the most at once", protocol::kMaxTransfers));
  }
  return transfer_slots_;
}

std::unique_ptr<ContextExport> ContextService::begin_export(ContextId id) {
  const Entry* found = named(id);
  if (!found) throw Error(ErrorCode::not_found, fmt::format("no context {}", protocol::to_string(id)), "context_id");
  if (found->record.status != ContextStatus::completed || found->given.status != ContextStatus::completed) {
    throw Error(ErrorCode::conflict,
                fmt::format("{} is {}, not completed", protocol::to_string(id), to_string(found->given.status)),
                "context_id");
  }
  if (const auto obstacle = find_obstacle(*found)) throw *obstacle;
  ExportedContext exported{.record = found->record, .layers = group_.model().layers};
  if (found->record.source) exported.document = spooled(found->record);
  exported.on_damaged = [this](const protocol::ChunkDamaged& damaged) { on_damaged(damaged); };
  exported.held = {take_transfer_slot(), hold(found->record.id)};
  log_.info("context_exported",
            {{"context", protocol::to_string(id)}, {"tokens", found->record.description.token_count}});
  return make_export(loop_, catalogue_, slices_, std::move(exported));
}

std::unique_ptr<ContextImport> ContextService::begin_import(ImportRequest request) {
  std::shared_ptr<void> slot = take_transfer_slot();
  ImportPlace place{
      .loop = loop_,
      .catalogue = catalogue_,
      .group = group_,
      .slices = slices_,
      .spool_directory = config_.spool_directory,
      .capacity = capacity(),
      .slot = std::move(slot),
      .adopt = [this](ImportedContext imported, ViewDone done) { adopt(std::move(imported), std::move(done)); },
      .abandon =
          [this, alive = std::weak_ptr(alive_)](const ImportedContext& imported) {
            if (!alive.expired()) abandon(imported);
          }};
  return make_import(std::move(place), std::move(request));
}

void ContextService::adopt(ImportedContext imported, ViewDone done) {
  const ContextRecord& record = imported.record;
  CatalogueBatch batch;
  batch.put_context(record);
  for (std::uint32_t index = 0; index < record.chunks.size(); ++index) {
    batch.put_chunk(record.id, index, record.chunks[index]);
  }
  const std::span<const protocol::TokenId> ids = imported.ids;
  for (std::size_t begin = 0; begin < ids.size(); begin += kTokenIdsPerPiece) {
    batch.put_token_ids(record.id, static_cast<std::uint32_t>(begin / kTokenIdsPerPiece),
                        ids.subspan(begin, std::min(kTokenIdsPerPiece, ids.size() - begin)));
  }
  imported.ids.clear();  // the batch has them
  catalogue_.commit(std::move(batch), Catalogue::Kind::create,
                    [this, imported = std::move(imported), done = std::move(done)](const std::optional<Error>& error) {
                      if (error) {
                        abandon(imported);
                        return done(error, {});
                      }
                      Entry& added = add_entry(imported.record);
                      added.was_completed = true;
                      catalogue_.note_computed(added.record.id, added.computed_before);
                      log_.info("context_imported", {{"context", protocol::to_string(added.record.id)},
                                                     {"tokens", added.record.description.token_count}});
                      done(std::nullopt, view(added));
                    });
}

void ContextService::abandon(const ImportedContext& imported) {
  erase_objects(imported.objects);
  std::error_code ignored;  // what stays is removed at the next start
  if (imported.record.source) std::filesystem::remove(spooled(imported.record).path, ignored);
}

}  // namespace rotulus::coordinator
