#include "coordinator/context_file.h"

#include <bit>
#include <cstring>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "protocol/error.h"
#include "protocol/limits.h"

namespace rotulus::coordinator {

using protocol::Error;
using protocol::ErrorCode;

namespace {

constexpr std::string_view kMagic = "ROTULUS\n";

struct Opening {  // behind the magic
  std::uint32_t version = kContextFileVersion;
  std::uint32_t reserved = 0;
};

struct RecordHeader {
  std::uint32_t kind = 0;
  std::uint32_t index = 0;
  std::uint64_t payload_bytes = 0;
};
static_assert(sizeof(Opening) == 8 && sizeof(RecordHeader) == 16);  // they are written as they lie in memory
static_assert(std::endian::native == std::endian::little);

constexpr std::size_t kOpeningBytes = kMagic.size() + sizeof(Opening);

// As of a block: the header's hash seeds the payload's, so that neither can be exchanged alone.
std::uint64_t checksum_of(const RecordHeader& header, std::string_view payload) {
  return XXH3_64bits_withSeed(payload.data(), payload.size(), XXH3_64bits(&header, sizeof(header)));
}

template <typename T>
std::string_view bytes_of(const T& value) {
  return {reinterpret_cast<const char*>(&value), sizeof(value)};
}

template <typename T>
T read(std::string_view bytes) {
  T value;
  std::memcpy(&value, bytes.data(), sizeof(value));
  return value;
}

[[noreturn]] void refuse(std::uint64_t offset, std::string_view why) {
  throw Error(ErrorCode::storage_corrupt, fmt::format("the file is damaged at byte {}: {}", offset, why));
}

void check_opening(std::string_view bytes) {
  if (!bytes.starts_with(kMagic)) {
    throw Error(ErrorCode::invalid_argument, "this is no file of an exported context: it does not begin as one");
  }
  const auto opening = read<Opening>(bytes.substr(kMagic.size()));
  if (opening.version != kContextFileVersion) {
    throw Error(ErrorCode::unsupported, fmt::format("the file has version {} of its format, this server reads {}",
                                                    opening.version, kContextFileVersion));
  }
}

}  // namespace

std::string context_file_opening() {
  return std::string(kMagic) + std::string(bytes_of(Opening{}));
}

std::string context_file_record(FileRecord kind, std::uint32_t index, std::string_view payload) {
  const RecordHeader header{static_cast<std::uint32_t>(kind), index, payload.size()};
  const std::uint64_t checksum = checksum_of(header, payload);
  std::string record;
  record.reserve(sizeof(header) + payload.size() + sizeof(checksum));
  record.append(bytes_of(header)).append(payload).append(bytes_of(checksum));
  return record;
}

void ContextFileReader::append(std::string_view piece) {
  if (is_ended_ && !piece.empty()) refuse(offset_ + buffer_.size(), "there are bytes behind its end");
  buffer_ += piece;
}

std::optional<ContextFileReader::Record> ContextFileReader::next() {
  if (!is_opened_) {
    if (buffer_.size() < kOpeningBytes) return std::nullopt;
    check_opening(buffer_);
    buffer_.erase(0, kOpeningBytes);
    offset_ = kOpeningBytes;
    is_opened_ = true;
  }
  if (buffer_.size() < sizeof(RecordHeader)) return std::nullopt;
  const auto header = read<RecordHeader>(buffer_);
  const bool is_known = header.kind >= 1 && header.kind <= static_cast<std::uint32_t>(FileRecord::end);
  if (!is_known || header.index != records_ || header.payload_bytes > protocol::kMaxFileRecordBytes) {
    refuse(offset_, fmt::format("no record {} begins there", records_));
  }
  const std::size_t payload_end = sizeof(header) + header.payload_bytes;
  const std::size_t whole = payload_end + sizeof(std::uint64_t);
  if (buffer_.size() < whole) return std::nullopt;
  Record record{static_cast<FileRecord>(header.kind), offset_, buffer_.substr(sizeof(header), header.payload_bytes)};
  if (read<std::uint64_t>(std::string_view(buffer_).substr(payload_end)) != checksum_of(header, record.payload)) {
    refuse(offset_, fmt::format("the checksum of record {}, of {} bytes, does not hold", records_, whole));
  }
  buffer_.erase(0, whole);
  offset_ += whole;
  ++records_;
  is_ended_ = record.kind == FileRecord::end;
  if (is_ended_ && !buffer_.empty()) refuse(offset_, "there are bytes behind its end");
  return record;
}

void ContextFileReader::finish() const {
  if (is_ended_) return;
  if (!is_opened_ && !kMagic.starts_with(std::string_view(buffer_).substr(0, kMagic.size()))) check_opening(buffer_);
  refuse(offset_, "what begins there is cut off; the file is not whole, export the context again");
}

}  // namespace rotulus::coordinator
