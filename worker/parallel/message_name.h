// One point-to-point message as its rank sees it, for the words of an error.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>

#include "protocol/error.h"

namespace rotulus::worker {

struct MessageName {
  std::uint32_t peer = 0;
  std::uint32_t tag = 0;
  std::size_t byte_count = 0;
  bool is_send = false;
};

// Error{transport_lost}: `rank` of `size` had to give up on the message because of `reason`.
inline protocol::Error transport_lost(std::uint32_t rank, std::uint32_t size, const MessageName& message,
                                      std::chrono::milliseconds deadline, std::string_view reason) {
  return {protocol::ErrorCode::transport_lost,
          fmt::format("rank {} of {} gave up {} rank {} (tag {}, {} bytes, deadline {} ms): {}", rank, size,
                      message.is_send ? "sending to" : "awaiting a message of", message.peer, message.tag,
                      message.byte_count, deadline.count(), reason)};
}

inline protocol::Error missed_deadline(std::uint32_t rank, std::uint32_t size, const MessageName& message,
                                       std::chrono::milliseconds deadline) {
  return transport_lost(rank, size, message, deadline, "the deadline passed without a sign of its work");
}

}  // namespace rotulus::worker
