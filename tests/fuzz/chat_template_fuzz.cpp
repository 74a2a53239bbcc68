// Any bytes are a chat template that is recognised or refused by its Error.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "protocol/error.h"
#include "worker/model/chat_template.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    const auto chat =
        rotulus::worker::make_chat_template(std::string_view(reinterpret_cast<const char*>(data), size), "");
    CHECK(chat != nullptr && !chat->render({{"user", "x"}}).empty());
  } catch (const rotulus::protocol::Error& error) {
    CHECK(error.code() == rotulus::protocol::ErrorCode::unsupported, error.message());
  }
  return 0;
}
