// A context as a file: all that another cluster of the same model needs to answer from it, whatever its number of
// ranks. The format, version 1, is described in README.md.
//
// Pure. Errors: Error{storage_corrupt} naming the byte at which the file is damaged, {unsupported} for another version
// of the format, {invalid_argument} for what is no such file.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace rotulus::coordinator {

inline constexpr std::uint32_t kContextFileVersion = 1;

enum class FileRecord : std::uint32_t {
  context = 1,    // parameters and description, as codec.h encodes them; once, first
  text = 2,       // a piece of the document, as it was submitted …
  ids = 3,        // … or of its token ids
  tokens = 4,     // the token ids of a chunk; then its slices, stripe by stripe, in each layer by layer
  slice = 5,      // blocks as they are stored (protocol/messages.h, ReadSlice)
  chunk_end = 6,  // how many blocks the chunk's slices have together, u32
  end = 7,        // nothing; once, last
};

// What a file begins with.
std::string context_file_opening();
// The next record of a file; `index` counts them from 0.
std::string context_file_record(FileRecord kind, std::uint32_t index, std::string_view payload);

// A file that comes in pieces. Holds no more of it than one record (at most limits.h kMaxFileRecordBytes) and a piece.
class ContextFileReader final {
 public:
  struct Record {
    FileRecord kind = FileRecord::end;
    std::uint64_t offset = 0;  // in the file
    std::string payload;
  };

  void append(std::string_view piece);
  // The next record, if all of it is here, its checksum verified.
  std::optional<Record> next();
  // Throws where the file stops in the middle of a record, or before its last.
  void finish() const;

 private:
  std::string buffer_;
  std::uint64_t offset_ = 0;  // of the buffer, in the file
  std::uint32_t records_ = 0;
  bool is_opened_ = false;
  bool is_ended_ = false;
};

}  // namespace rotulus::coordinator
