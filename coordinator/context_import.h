// Takes in the file of a context (context_file.h): its chunks become fresh objects on the volumes of the present worker
// group, placed as that group places, and one catalogue batch at the end makes all of it visible. Before that nothing
// names the objects: an import that ends early, however it ends, leaves garbage that is erased, here or at the next
// reconciliation.
//
// In memory at once: one record of the file, and the document's token ids.
//
// Threads: the event loop.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "coordinator/catalogue.h"
#include "coordinator/contexts.h"
#include "coordinator/event_loop.h"
#include "coordinator/planner.h"
#include "coordinator/slice_calls.h"

namespace rotulus::coordinator {

struct ImportedContext {
  ContextRecord record;  // completed
  std::vector<protocol::TokenId> ids;
  std::vector<protocol::ObjectId> objects;  // begun, named by the record or not
};

struct ImportPlace {
  EventLoop& loop;
  Catalogue& catalogue;
  WorkerGroup& group;
  SliceCalls& slices;
  std::filesystem::path spool_directory;
  Capacity capacity;
  std::shared_ptr<void> slot;  // while it lasts
  // It is whole, and no longer the import's.
  std::function<void(ImportedContext, std::function<void(std::optional<protocol::Error>, ContextView)>)> adopt;
  // It will not be.
  std::function<void(const ImportedContext&)> abandon;
};

std::unique_ptr<ContextImport> make_import(ImportPlace place, ImportRequest request);

}  // namespace rotulus::coordinator
