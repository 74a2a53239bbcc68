#include "coordinator/catalogue_records.h"

#include <cstring>

#include "protocol/codec.h"

namespace rotulus::coordinator::records {
namespace {

using protocol::Error;
using protocol::ErrorCode;

constexpr std::size_t kIdBytes = 8;
constexpr std::size_t kTagOffset = kContextsPrefix.size() + kIdBytes;  // "c/" id "/" tag …

[[noreturn]] void throw_malformed(const char* what) {
  throw Error(
      ErrorCode::storage_corrupt,
      fmt::format("the catalogue holds a malformed {}; start with --rebuild-catalogue on a moved-away catalogue "
                  "to restore what is committed",
                  what));
}

void append_big_endian(std::string& text, std::uint64_t number, std::size_t bytes) {
  for (std::size_t i = bytes; i-- > 0;) text += static_cast<char>(number >> (8 * i) & 0xff);
}

std::uint64_t read_big_endian(std::string_view text) {
  std::uint64_t number = 0;
  for (const char byte : text) number = number << 8 | static_cast<unsigned char>(byte);
  return number;
}

// Little-endian numbers and counted strings, one after the other.
class Writer {
 public:
  void number(std::uint64_t value) {
    for (int i = 0; i < 8; ++i) bytes_ += static_cast<char>(value >> (8 * i) & 0xff);
  }
  void text(std::string_view value) {
    number(value.size());
    bytes_ += value;
  }
  std::string take() { return std::move(bytes_); }

 private:
  std::string bytes_;
};

class Reader {
 public:
  explicit Reader(std::string_view bytes) : bytes_(bytes) {}
  std::uint64_t number() {
    const std::string_view raw = take(8);
    std::uint64_t value = 0;
    for (int i = 7; i >= 0; --i) value = value << 8 | static_cast<unsigned char>(raw[static_cast<std::size_t>(i)]);
    return value;
  }
  std::string text() { return std::string(take(number())); }
  bool is_at_end() const { return bytes_.empty(); }

 private:
  std::string_view take(std::uint64_t count) {
    if (count > bytes_.size()) throw_malformed("record");
    const std::string_view taken = bytes_.substr(0, static_cast<std::size_t>(count));
    bytes_.remove_prefix(static_cast<std::size_t>(count));
    return taken;
  }
  std::string_view bytes_;
};

std::string to_text(const std::vector<std::byte>& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::vector<std::byte> to_bytes(std::string_view text) {
  std::vector<std::byte> bytes(text.size());
  if (!text.empty()) std::memcpy(bytes.data(), text.data(), text.size());
  return bytes;
}

void parse_status(std::string_view value, ContextRecord& record) {
  Reader reader(value);
  const std::uint64_t status = reader.number();
  if (status > static_cast<std::uint64_t>(ContextStatus::cancelled)) throw_malformed("context status");
  record.status = static_cast<ContextStatus>(status);
  record.source_bytes = reader.number();
  record.chunks_repaired = reader.number();
  record.compute_ms = static_cast<std::int64_t>(reader.number());
  if (reader.number() != 0) {
    SpooledDocument source;
    source.path = reader.text();
    source.kind = reader.number() == 0 ? SpoolKind::text : SpoolKind::token_ids;
    source.bytes = reader.number();
    record.source = source;
  }
  if (reader.number() != 0) {
    const auto code = static_cast<ErrorCode>(reader.number());
    std::string message = reader.text();
    record.last_error = Error(code, std::move(message), reader.text());
  }
  if (!reader.is_at_end()) record.shared_tokens = reader.number();  // format 1 ends here
  if (!reader.is_at_end()) throw_malformed("context status");
}

Listing parse_listing(std::string_view value) {
  Reader reader(value);
  Listing listing{.record = protocol::decode_object_record(to_bytes(reader.text())), .objects = {}};
  while (!reader.is_at_end()) listing.objects.push_back(protocol::ObjectId{reader.number()});
  return listing;
}

}  // namespace

std::string context_prefix(ContextId context) {
  std::string key(kContextsPrefix);
  append_big_endian(key, context.value, kIdBytes);
  key += '/';
  return key;
}
std::string context_prefix_end(ContextId context) {
  std::string key = context_prefix(context);
  key.back() = '/' + 1;
  return key;
}
std::string description_key(ContextId context) {
  return context_prefix(context) + 'd';
}
std::string status_key(ContextId context) {
  return context_prefix(context) + 's';
}
std::string computed_key(ContextId context) {
  return context_prefix(context) + 'w';
}
std::string listing_key(ContextId context) {
  return context_prefix(context) + 'l';
}
std::string chunk_key(ContextId context, std::uint32_t chunk_index) {
  std::string key = context_prefix(context) + "o/";
  append_big_endian(key, chunk_index, 4);
  return key;
}
std::string token_ids_prefix(ContextId context) {
  return context_prefix(context) + "t/";
}
std::string token_ids_prefix_end(ContextId context) {
  std::string key = token_ids_prefix(context);
  key.back() = '/' + 1;
  return key;
}
std::string token_ids_key(ContextId context, std::uint32_t piece) {
  std::string key = token_ids_prefix(context);
  append_big_endian(key, piece, 4);
  return key;
}

std::string number_value(std::uint64_t number) {
  Writer writer;
  writer.number(number);
  return writer.take();
}

std::string description_value(const ContextRecord& record) {
  return to_text(protocol::encode_record(record.parameters, record.description));
}

std::string status_value(const ContextRecord& record) {
  Writer writer;
  writer.number(static_cast<std::uint64_t>(record.status));
  writer.number(record.source_bytes);
  writer.number(record.chunks_repaired);
  writer.number(static_cast<std::uint64_t>(record.compute_ms));
  writer.number(record.source.has_value());
  if (record.source) {
    writer.text(record.source->path.native());
    writer.number(record.source->kind == SpoolKind::text ? 0 : 1);
    writer.number(record.source->bytes);
  }
  writer.number(record.last_error.has_value());
  if (record.last_error) {
    writer.number(static_cast<std::uint64_t>(record.last_error->code()));
    writer.text(record.last_error->message());
    writer.text(record.last_error->param());
  }
  writer.number(record.shared_tokens);
  return writer.take();
}

std::string chunk_value(const protocol::ObjectRecord& record) {
  return to_text(protocol::encode_record(record));
}

std::string listing_value(const Listing& listing) {
  Writer writer;
  writer.text(chunk_value(listing.record));
  for (const protocol::ObjectId object : listing.objects) writer.number(object.value);
  return writer.take();
}

std::string token_ids_value(std::span<const protocol::TokenId> ids) {
  std::string value;
  value.reserve(ids.size() * 4);
  for (const protocol::TokenId id : ids) {
    for (int i = 0; i < 4; ++i) value += static_cast<char>(id >> (8 * i) & 0xff);
  }
  return value;
}

std::uint64_t parse_number(std::string_view value) {
  Reader reader(value);
  const std::uint64_t number = reader.number();
  if (!reader.is_at_end()) throw_malformed("number");
  return number;
}

std::vector<protocol::TokenId> parse_token_ids(std::string_view value) {
  if (value.size() % 4 != 0) throw_malformed("piece of token ids");
  std::vector<protocol::TokenId> ids(value.size() / 4);
  for (std::size_t i = 0; i < ids.size(); ++i) {
    for (std::size_t byte = 4; byte-- > 0;) ids[i] = ids[i] << 8 | static_cast<unsigned char>(value[4 * i + byte]);
  }
  return ids;
}

void read_entry(std::string_view key, std::string_view value, std::map<ContextId, ContextRecord>& contexts) {
  if (key.size() < kTagOffset + 2) throw_malformed("key");
  const ContextId id{read_big_endian(key.substr(kContextsPrefix.size(), kIdBytes))};
  ContextRecord& record = contexts[id];
  record.id = id;
  switch (key[kTagOffset + 1]) {
    case 'd':
      protocol::decode_context_record(to_bytes(value), record.parameters, record.description);
      break;
    case 's':
      parse_status(value, record);
      break;
    case 'w':
      record.computed_before = parse_number(value);
      break;
    case 'l':
      record.listing = parse_listing(value);
      break;
    case 't':
      break;
    case 'o': {
      const std::uint64_t index = read_big_endian(key.substr(kTagOffset + 3));
      // The description stands before the chunks in key order, so the count of chunks is known here.
      const std::uint64_t count = protocol::chunk_count(record.description.token_count);
      if (index >= count) throw_malformed("chunk index");
      record.chunks.resize(static_cast<std::size_t>(count));
      record.chunks[static_cast<std::size_t>(index)] = protocol::decode_object_record(to_bytes(value));
      break;
    }
    default:
      throw_malformed("key");
  }
  if (record.is_tokenized()) record.chunks.resize(protocol::chunk_count(record.description.token_count));
}

std::optional<ContextId> context_of_token_ids(std::string_view key) {
  if (key.size() < kTagOffset + 2 || key[kTagOffset + 1] != 't') return std::nullopt;
  return ContextId{read_big_endian(key.substr(kContextsPrefix.size(), kIdBytes))};
}

}  // namespace rotulus::coordinator::records
