// The few collective patterns of a step, on point-to-point messages, in a fixed order with fixed tags: all ranks call
// the same ones in the same order. Each waits with limits.h kExchangeTimeout.
#pragma once

#include <cstddef>
#include <cstring>
#include <span>
#include <type_traits>
#include <vector>

#include "worker/parallel/transport.h"

namespace rotulus::worker {

// The tags below are used here.
inline constexpr std::uint32_t kFirstFreeTag = 16;

// From `root` to all; the size travels first.
void broadcast(Transport& transport, std::uint32_t root, std::vector<std::byte>& bytes);

// To `root`: result[r] is what rank r gave; empty elsewhere.
std::vector<std::vector<std::byte>> gather(Transport& transport, std::uint32_t root, std::span<const std::byte> bytes);

// Any sizes, each side knows them: send[r] goes to rank r, receive[r] comes from it. The own entry is copied.
// Messages longer than limits.h kRingMessageBytes are cut.
void exchange(Transport& transport, std::span<const std::span<const std::byte>> send,
              std::span<const std::span<std::byte>> receive);

// As exchange(), where only the sender knows the sizes.
std::vector<std::vector<std::byte>> exchange_unsized(Transport& transport,
                                                     std::span<const std::vector<std::byte>> send);

// Every rank's values, on every rank. T travels between ranks of one build as it is.
template <typename T>
std::vector<std::vector<T>> exchange_values(Transport& transport, const std::vector<T>& own) {
  static_assert(std::is_trivially_copyable_v<T>);
  const auto bytes = std::as_bytes(std::span(own));
  const std::vector<std::vector<std::byte>> to_all(transport.size(), {bytes.begin(), bytes.end()});
  std::vector<std::vector<T>> values;
  for (const auto& from : exchange_unsized(transport, to_all)) {
    values.emplace_back(from.size() / sizeof(T));
    if (!from.empty()) std::memcpy(values.back().data(), from.data(), from.size());
  }
  return values;
}

}  // namespace rotulus::worker
