// What the encode/decode pairs of this folder have in common: limits, texts, ids, lists and enums.
//
// Everything here and in parts.h stands in the namespace of the generated types, where the templates below find the
// pair for a type by argument-dependent lookup.
#pragma once

#include <capnp/blob.h>
#include <capnp/list.h>

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "protocol/error.h"
#include "protocol/ids.h"
#include "protocol/limits.h"

namespace rotulus::protocol::schema {

[[noreturn]] inline void refuse(const char* field, const std::string& reason) {
  throw Error(protocol::ErrorCode::invalid_argument, fmt::format("{}: {}", field, reason), field);
}

// Checked when writing and when reading alike.
inline void check_limit(std::size_t count, std::size_t most, const char* field) {
  if (count > most) refuse(field, fmt::format("{} is more than the limit of {}", count, most));
}

template <typename Container>
unsigned count_of(const Container& container) {
  return static_cast<unsigned>(container.size());
}

// -- text and bytes -----------------------------------------------------------------------------------------------

inline capnp::Text::Reader text(const std::string& value) {
  return {value.data(), value.size()};
}
inline std::string text(capnp::Text::Reader value) {
  return {value.cStr(), value.size()};
}

inline capnp::Data::Reader data(const std::string& value) {
  return {reinterpret_cast<const capnp::byte*>(value.data()), value.size()};
}
inline std::string data(capnp::Data::Reader value) {
  return {reinterpret_cast<const char*>(value.begin()), value.size()};
}

template <std::size_t kBytes>
capnp::Data::Reader fixed(const std::array<std::uint8_t, kBytes>& value) {
  return {value.data(), kBytes};
}
template <std::size_t kBytes>
std::array<std::uint8_t, kBytes> fixed(capnp::Data::Reader value, const char* field) {
  if (value.size() != kBytes) refuse(field, fmt::format("{} bytes, not {}", value.size(), kBytes));
  std::array<std::uint8_t, kBytes> bytes;
  std::copy(value.begin(), value.end(), bytes.begin());
  return bytes;
}

// -- enums ----------------------------------------------------------------------------------------------------------

// Ours and the schema's have the same numbers. `last` is the highest that we know.
template <typename Wire, typename Ours>
Wire to_wire(Ours value) {
  return static_cast<Wire>(value);
}
template <typename Ours, typename Wire>
Ours from_wire(Wire value, Ours last, const char* field) {
  const auto number = static_cast<unsigned>(value);
  if (number > static_cast<unsigned>(last)) refuse(field, fmt::format("{} is not known", number));
  return static_cast<Ours>(number);
}

// -- lists ----------------------------------------------------------------------------------------------------------

template <typename Builder, typename T>
void write_list(Builder to, const std::vector<T>& from) {
  for (unsigned i = 0; i < to.size(); ++i) write(to[i], from[i]);
}
template <typename Reader>
auto read_list(Reader from) {
  std::vector<decltype(read(from[0]))> values;
  values.reserve(from.size());
  for (auto element : from) values.push_back(read(element));
  return values;
}

template <typename T>
void write_numbers(typename capnp::List<T>::Builder to, const std::vector<T>& from) {
  for (unsigned i = 0; i < to.size(); ++i) to.set(i, from[i]);
}
template <typename T>
std::vector<T> read_numbers(typename capnp::List<T>::Reader from) {
  std::vector<T> values;
  values.reserve(from.size());
  for (const T value : from) values.push_back(value);
  return values;
}

template <typename Tag>
void write_ids(capnp::List<std::uint64_t>::Builder to, const std::vector<Id<Tag>>& from) {
  for (unsigned i = 0; i < to.size(); ++i) to.set(i, from[i].value);
}
template <typename IdType>
std::vector<IdType> read_ids(capnp::List<std::uint64_t>::Reader from) {
  std::vector<IdType> ids;
  ids.reserve(from.size());
  for (const std::uint64_t value : from) ids.push_back({value});
  return ids;
}

// Token ids of a message: at most limits.h kTokenIdsPerMessage.
inline unsigned count_of_tokens(const std::vector<TokenId>& ids, const char* field) {
  check_limit(ids.size(), kTokenIdsPerMessage, field);
  return count_of(ids);
}
inline std::vector<TokenId> read_tokens(capnp::List<TokenId>::Reader from, const char* field) {
  check_limit(from.size(), kTokenIdsPerMessage, field);
  return read_numbers<TokenId>(from);
}

}  // namespace rotulus::protocol::schema
