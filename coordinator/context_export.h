// Makes the file of a context (context_file.h): record by record, as it is asked for. Nothing is computed, and host
// memory of the workers is not touched: slices are read from their disks.
//
// Threads: the event loop.
#pragma once

#include <functional>
#include <memory>
#include <optional>

#include "coordinator/catalogue.h"
#include "coordinator/contexts.h"
#include "coordinator/event_loop.h"
#include "coordinator/slice_calls.h"

namespace rotulus::coordinator {

struct ExportedContext {
  ContextRecord record;
  std::optional<SpooledDocument> document;  // with its whole path
  std::uint32_t layers = 0;                 // of the model
  // The chunk cannot be read as it was written.
  std::function<void(const protocol::ChunkDamaged&)> on_damaged;
  std::vector<std::shared_ptr<void>> held;  // while it lasts
};

std::unique_ptr<ContextExport> make_export(EventLoop& loop, Catalogue& catalogue, SliceCalls& slices,
                                           ExportedContext exported);

}  // namespace rotulus::coordinator
