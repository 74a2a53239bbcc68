// The RocksDB under the catalogue: synced batches, reads, and opening again after a write has failed.
//
// Threads: one at a time. Errors: Error{storage_full}, {storage_corrupt}; open() also {conflict}: held by another
// process, which is named after a wait for it to end.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "coordinator/log.h"

namespace rotulus::coordinator {

struct DatabaseOperation {
  enum class Kind : std::uint8_t { put, erase, erase_range };
  Kind kind = Kind::put;
  std::string key;
  std::string value;  // erase_range: the first key that stays
};

class CatalogueDatabase final {
 public:
  // `may_replace`: one that does not open is renamed, and a new one made in its place.
  CatalogueDatabase(const std::filesystem::path& directory, bool may_replace, Log& log);
  ~CatalogueDatabase();

  std::optional<std::string> get(std::string_view key) const;
  // All keys that begin with `prefix`, ascending.
  void scan(std::string_view prefix,
            const std::function<void(std::string_view key, std::string_view value)>& visit) const;
  void write(std::span<const DatabaseOperation> operations, bool is_synced);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace rotulus::coordinator
