// Names of things as types, so that none is passed for another. Values; compare, hash and print.
#pragma once

#include <fmt/format.h>

#include <compare>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace rotulus::protocol {

template <typename Tag>
struct Id {
  std::uint64_t value = 0;  // 0 names nothing
  auto operator<=>(const Id&) const = default;
  explicit operator bool() const { return value != 0; }
};

using ContextId = Id<struct ContextTag>;  // a document held as attention memory
using RequestId = Id<struct RequestTag>;  // one running answer; unique within a coordinator's life
using ObjectId = Id<struct ObjectTag>;    // one commit attempt of one chunk; from the catalogue, never used again
using VolumeId = Id<struct VolumeTag>;    // one RocksDB on one disk; drawn at random when it is made
using StoreId = Id<struct StoreTag>;      // a catalogue and its volumes
using Epoch = Id<struct EpochTag>;        // one life of a worker group under one coordinator

// "ctx_" and 16 hexadecimal digits, as the API shows it.
std::string to_string(ContextId id);
std::optional<ContextId> parse_context_id(std::string_view text);

using TokenId = std::uint32_t;

}  // namespace rotulus::protocol

template <typename Tag>
struct std::hash<rotulus::protocol::Id<Tag>> {
  std::size_t operator()(const rotulus::protocol::Id<Tag>& id) const noexcept {
    return std::hash<std::uint64_t>{}(id.value);
  }
};

template <typename Tag>
struct fmt::formatter<rotulus::protocol::Id<Tag>> : fmt::formatter<std::uint64_t> {
  template <typename Context>
  auto format(const rotulus::protocol::Id<Tag>& id, Context& context) const {
    return fmt::format_to(context.out(), "{:016x}", id.value);
  }
};
