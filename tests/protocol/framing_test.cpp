// Frames of random messages there and back, then each byte of a frame changed: none may pass.
#include "protocol/framing.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <cstring>

#include "protocol/error.h"
#include "protocol/limits.h"
#include "tests/protocol/arbitrary_messages.h"

namespace rotulus::protocol {
namespace {

using Bytes = std::vector<std::byte>;

Message parse(const Bytes& frame) {
  const std::span<const std::byte> bytes(frame);
  return parse_frame(bytes.first<kFrameHeaderBytes>(), bytes.subspan(kFrameHeaderBytes));
}

RC_GTEST_PROP(Framing, CarriesAnyMessageAndItsEpoch, (std::uint64_t epoch)) {
  const auto kind = *rc::gen::inRange<std::size_t>(0, std::variant_size_v<Message>);
  const Message message = arbitrary_message(kind);
  const Bytes frame = make_frame(message, {epoch});
  const FrameHeader header = parse_frame_header(std::span(frame).first<kFrameHeaderBytes>());
  RC_ASSERT(header.epoch.value == epoch);
  RC_ASSERT(header.payload_bytes == frame.size() - kFrameHeaderBytes);
  RC_ASSERT(parse(frame) == message);
}

TEST(Framing, RefusesAFrameWithAnyByteChanged) {
  const Bytes frame = make_frame(Refusal{ErrorCode::conflict, "another model"}, {0x1122334455667788});
  for (std::size_t at = 0; at < frame.size(); ++at) {
    for (const int bit : {0, 3, 7}) {
      Bytes changed = frame;
      changed[at] ^= std::byte{1} << bit;
      try {
        parse(changed);
        ADD_FAILURE() << "byte " << at << ", bit " << bit << " made no difference";
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::invalid_argument) << error.message();
        EXPECT_EQ(error.param(), "frame") << error.message();
      }
    }
  }
}

TEST(Framing, RefusesATruncatedPayload) {
  Bytes frame = make_frame(Wake{3}, {1});
  frame.resize(frame.size() - 8);
  EXPECT_THROW(parse(frame), Error);
}

TEST(Framing, TakesAMessageThatJustFitsAndNoLongerOne) {
  // A Refusal's words fill the frame; the search finds the longest text that fits.
  const auto fits = [](std::size_t length) {
    try {
      return make_frame(Refusal{ErrorCode::conflict, std::string(length, 'x')}, {1}).size();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::payload_too_large);
      return std::size_t{0};
    }
  };
  EXPECT_EQ(fits(kMaxFrameBytes), 0u);
  std::size_t length = kMaxFrameBytes - 200;
  while (fits(length + 1) != 0) ++length;
  EXPECT_EQ(fits(length), kMaxFrameBytes);
  EXPECT_EQ(parse(make_frame(Refusal{ErrorCode::conflict, std::string(length, 'x')}, {1})),
            Message(Refusal{ErrorCode::conflict, std::string(length, 'x')}));
}

TEST(Framing, RefusesALengthBeyondTheFrameBeforeAnythingIsRead) {
  Bytes frame = make_frame(Wake{3}, {1});
  const std::uint32_t length = kMaxFrameBytes - kFrameHeaderBytes + 1;
  std::memcpy(frame.data() + 8, &length, sizeof length);
  EXPECT_THROW(parse_frame_header(std::span(frame).first<kFrameHeaderBytes>()), Error);
}

}  // namespace
}  // namespace rotulus::protocol
