// A lost catalogue, restored from what volumes tell: for each chunk the latest object that all its volumes have.
//
// An object belongs to the contexts whose listings name it (messages.h, ManifestRecord); one that no listing names, to
// the context it was computed for. So a context of which only objects are left that others list was deleted.
//
// A chunk of which only a part is left still gives its token ids, so its context is computed again there; a context
// with a chunk of which nothing is left is `failed`, with the numbers.
//
// Pure; manifests are added one by one and need not stay in memory.
#pragma once

#include <map>
#include <set>
#include <vector>

#include "coordinator/catalogue.h"
#include "protocol/messages.h"

namespace rotulus::coordinator {

class CatalogueRebuild final {
 public:
  // `sequence`: the last that any volume saw.
  CatalogueRebuild(protocol::StoreId store, std::uint64_t sequence) : store_(store), sequence_(sequence) {}

  protocol::StoreId store() const { return store_; }
  void add(protocol::ManifestRecord manifest, std::uint64_t hash);
  Catalogue::Rebuilt finish();

 private:
  // One attempt that left a manifest somewhere.
  struct Object {
    protocol::ObjectRecord record;
    std::uint32_t volumes_needed = 0;
    ContextId computed_for;
    std::uint32_t chunk_index = 0;
    std::vector<protocol::TokenId> token_ids;
    std::vector<protocol::ObjectId> objects;  // of a listing

    bool is_complete() const { return record.manifests.size() == volumes_needed; }
  };
  struct Context {
    protocol::ObjectId described_by;  // the latest object, whose description and parameters are taken
    protocol::ContextParameters parameters;
    protocol::ContextDescription description;
    std::optional<protocol::ObjectId> listing;                      // the latest
    std::map<std::uint32_t, std::set<protocol::ObjectId>> objects;  // by chunk index
  };
  void deal_objects();
  std::pair<ContextRecord, std::vector<protocol::TokenId>> restore(ContextId id, const Context& context) const;

  protocol::StoreId store_;
  std::uint64_t sequence_ = 0;
  protocol::ObjectId last_object_;
  ContextId last_context_;
  std::map<protocol::ObjectId, Object> objects_;
  std::map<ContextId, Context> contexts_;
};

}  // namespace rotulus::coordinator
