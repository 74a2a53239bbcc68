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
#include <span>
#include <string>

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

}  // namespace rotulus::coordinator
