// Documents on their way in: each a file of its own under <store>/spool, durable before it is acknowledged, read back
// in pieces by the tokenizer, removed when its context no longer needs it. Never held whole in memory.
//
//   <name>.part   being received          <name>.text   UTF-8 (or any bytes)          <name>.ids   u32 little-endian
//
// Threads: a SpoolWriter belongs to one request; files are written by the caller's thread (http/ runs it on its file
// pool). Errors: Error{storage_full} when the disk is full, with the bytes asked for.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "protocol/ids.h"

namespace rotulus::coordinator {

enum class SpoolKind : std::uint8_t { text, token_ids };

// A finished document in the spool.
struct SpooledDocument {
  std::filesystem::path path;
  SpoolKind kind = SpoolKind::text;
  std::uint64_t bytes = 0;
};

class SpoolWriter final {
 public:
  SpoolWriter(const std::filesystem::path& spool_directory, SpoolKind kind);
  ~SpoolWriter();  // an unfinished file is removed
  SpoolWriter(SpoolWriter&& other) noexcept;
  SpoolWriter& operator=(SpoolWriter&&) = delete;

  void append(std::string_view bytes);
  SpooledDocument finish();  // synced, renamed, directory synced

 private:
  std::filesystem::path path_;
  SpoolKind kind_;
  int file_ = -1;
  std::uint64_t bytes_ = 0;
};

// Up to `bytes` bytes of a finished document from `offset`; fewer only at its end.
std::string read_spooled(const SpooledDocument& document, std::uint64_t offset, std::size_t bytes);

// Makes the directory, and removes from it what no context of the catalogue needs: parts of an earlier life, orphans.
// Returns how many files were removed.
std::size_t clean_spool(const std::filesystem::path& spool_directory, const std::vector<std::filesystem::path>& needed);

}  // namespace rotulus::coordinator
