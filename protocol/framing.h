// A frame on the control plane: header and one encoded message.
//
//   magic "RTLS" u32 · protocol version u16 · zero u16 · payload length u32 · zero u32 · epoch u64 ·
//   XXH3-64 u64 of these 24 bytes and the payload
//
// All little-endian. A frame of another version, too long, or with a wrong checksum ends the connection: after it the
// stream cannot be trusted. A frame of a stale epoch is dropped by the receiver.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "protocol/ids.h"
#include "protocol/messages.h"

namespace rotulus::protocol {

inline constexpr std::size_t kFrameHeaderBytes = 32;

struct FrameHeader {
  std::uint32_t payload_bytes = 0;
  Epoch epoch;
  std::uint64_t checksum = 0;
};

// Throws Error{payload_too_large} if the encoded message does not fit a frame: a bug of the sender.
std::vector<std::byte> make_frame(const Message& message, Epoch epoch);

// Throws Error{invalid_argument} on wrong magic, version or length.
FrameHeader parse_frame_header(std::span<const std::byte, kFrameHeaderBytes> bytes);

// Throws Error{invalid_argument} on a wrong checksum or a payload that does not decode.
Message parse_frame(std::span<const std::byte, kFrameHeaderBytes> header, std::span<const std::byte> payload);

}  // namespace rotulus::protocol
