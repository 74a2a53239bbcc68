// A lost catalogue, restored from what volumes tell: for each chunk the latest object that all its volumes have.
//
// A chunk of which only a part is left still gives its token ids, so its context is computed again there; a context
// with a chunk of which nothing is left is `failed`, with the numbers.
//
// Pure; manifests are added one by one and need not stay in memory.
#pragma once

#include <map>
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
  struct Object {
    protocol::ObjectRecord record;
    std::uint32_t volumes_needed = 0;
  };
  struct Chunk {
    std::map<protocol::ObjectId, Object> objects;  // attempts that left a manifest somewhere
    std::vector<protocol::TokenId> token_ids;
  };
  struct Context {
    protocol::ObjectId described_by;  // the latest object, whose description and parameters are taken
    protocol::ContextParameters parameters;
    protocol::ContextDescription description;
    std::map<std::uint32_t, Chunk> chunks;
  };
  static std::pair<ContextRecord, std::vector<protocol::TokenId>> restore(ContextId id, Context context);

  protocol::StoreId store_;
  std::uint64_t sequence_ = 0;
  protocol::ObjectId last_object_;
  ContextId last_context_;
  std::map<ContextId, Context> contexts_;
};

}  // namespace rotulus::coordinator
