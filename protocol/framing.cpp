#include "protocol/framing.h"

#include <xxhash.h>

#include <bit>
#include <cstring>
#include <memory>

#include "protocol/codec.h"
#include "protocol/error.h"
#include "protocol/limits.h"

namespace rotulus::protocol {
namespace {

static_assert(std::endian::native == std::endian::little, "frames are little-endian and copied as they are");

constexpr std::uint32_t kMagic = 0x534c5452;  // "RTLS"

// The header as it travels.
struct WireHeader {
  std::uint32_t magic = kMagic;
  std::uint16_t version = kProtocolVersion;
  std::uint16_t reserved = 0;
  std::uint32_t payload_bytes = 0;
  std::uint32_t reserved_too = 0;
  std::uint64_t epoch = 0;
  std::uint64_t checksum = 0;
};
static_assert(sizeof(WireHeader) == kFrameHeaderBytes && offsetof(WireHeader, checksum) == 24);

// Over the header up to the checksum, and the payload.
std::uint64_t checksum(std::span<const std::byte> header, std::span<const std::byte> payload) {
  const std::unique_ptr<XXH3_state_t, decltype(&XXH3_freeState)> state(XXH3_createState(), XXH3_freeState);
  XXH3_64bits_reset(state.get());
  XXH3_64bits_update(state.get(), header.data(), offsetof(WireHeader, checksum));
  XXH3_64bits_update(state.get(), payload.data(), payload.size());
  return XXH3_64bits_digest(state.get());
}

[[noreturn]] void refuse(std::string message) {
  throw Error(ErrorCode::invalid_argument, "frame: " + std::move(message), "frame");
}

}  // namespace

std::vector<std::byte> make_frame(const Message& message, Epoch epoch) {
  const std::vector<std::byte> payload = encode(message);
  if (payload.size() > kMaxFrameBytes - kFrameHeaderBytes) {
    throw Error(ErrorCode::payload_too_large, fmt::format("message of kind {}: {} bytes do not fit a frame of {}",
                                                          message.index(), payload.size(), kMaxFrameBytes));
  }
  WireHeader header{.payload_bytes = static_cast<std::uint32_t>(payload.size()), .epoch = epoch.value};
  header.checksum = checksum(std::as_bytes(std::span(&header, 1)), payload);
  std::vector<std::byte> frame(kFrameHeaderBytes + payload.size());
  std::memcpy(frame.data(), &header, kFrameHeaderBytes);
  std::memcpy(frame.data() + kFrameHeaderBytes, payload.data(), payload.size());
  return frame;
}

FrameHeader parse_frame_header(std::span<const std::byte, kFrameHeaderBytes> bytes) {
  WireHeader header;
  std::memcpy(&header, bytes.data(), kFrameHeaderBytes);
  if (header.magic != kMagic) refuse(fmt::format("magic {:08x} is not ours: no Rotulus peer", header.magic));
  if (header.version != kProtocolVersion) {
    refuse(fmt::format("protocol version {}, ours is {}: coordinator and workers must be of one release",
                       header.version, kProtocolVersion));
  }
  if (header.reserved != 0 || header.reserved_too != 0) refuse("reserved bytes are not zero");
  if (header.payload_bytes > kMaxFrameBytes - kFrameHeaderBytes) {
    refuse(fmt::format("{} bytes of payload are more than a frame of {} holds", header.payload_bytes, kMaxFrameBytes));
  }
  return {.payload_bytes = header.payload_bytes, .epoch = {header.epoch}, .checksum = header.checksum};
}

Message parse_frame(std::span<const std::byte, kFrameHeaderBytes> header, std::span<const std::byte> payload) {
  const FrameHeader parsed = parse_frame_header(header);
  if (payload.size() != parsed.payload_bytes) {
    refuse(fmt::format("{} bytes of payload, {} were announced", payload.size(), parsed.payload_bytes));
  }
  const std::uint64_t actual = checksum(header, payload);
  if (actual != parsed.checksum) refuse(fmt::format("checksum {:016x}, not {:016x}", actual, parsed.checksum));
  return decode(payload);
}

}  // namespace rotulus::protocol
