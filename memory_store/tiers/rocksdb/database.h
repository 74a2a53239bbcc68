// One RocksDB, opened and kept usable: reads and writes, and what to do when either fails. No RocksDB type shows.
//
// Opening has two steps. A database of which a file is damaged or missing does not open as usual; it is then opened to
// *salvage* what can be read: damage shows when the key is read, and nothing is compacted, because compaction reads and
// would stop at it. Erasing the damaged objects drops the damaged files, and the next opening is the usual one.
//
// A write that fails (full disk, damage met by a compaction) leaves RocksDB refusing writes for its life; the next
// write closes it and opens it again, in this process. Reads go on until then.
//
// Threads: safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace rotulus::memory_store {

class Database final {
 public:
  // Opens the database in `directory`, or makes it if the directory does not exist. Throws Error{storage_corrupt} with
  // the way out if it cannot be opened at all; nothing is deleted.
  Database(std::filesystem::path directory, std::size_t key_prefix_bytes);
  ~Database();

  struct Entry {
    std::string key;
    std::span<const std::byte> head, body;  // the value is both, one behind the other
  };
  // All entries or none. Synced: with everything written before. Throws Error{storage_full}, {storage_corrupt} or
  // {unavailable}.
  void write(std::span<const Entry> entries, bool is_synced);

  // Calls `use` with the value. Why it could not; nothing if it could. Throws Error{unavailable} while closed.
  std::optional<std::string> read(std::string_view key,
                                  const std::function<void(std::span<const std::byte>)>& use) const;

  // Keys from `begin` to before `end`.
  struct KeyRange {
    std::string begin, end;
  };
  // Whether a key lies in it, or it cannot be told.
  bool contains(const KeyRange& range) const;
  // The prefixes under which keys may lie, ascending, from the files' own bounds: reads no file in the common case.
  std::vector<std::string> key_prefixes() const;

  // Starts to move what is in memory to a file of its own.
  void flush_soon();
  // Ranges that each cover whole prefixes. Durable; each range goes as a whole; the bytes are given back to the disk.
  void erase(std::span<const KeyRange> ranges);

  std::uint64_t bytes_on_disk() const;
  bool is_salvaged() const;  // how it was opened last

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace rotulus::memory_store
