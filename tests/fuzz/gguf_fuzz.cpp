// Any bytes are either a GGUF file whose tensors lie inside it, or an Error.
#include <cstddef>
#include <cstdint>
#include <span>

#include "protocol/error.h"
#include "worker/model/gguf_file.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  try {
    const auto file = rotulus::worker::GgufFile::parse(bytes);
    volatile std::byte last{};  // so that the sanitizer sees each tensor's ends being read
    for (const auto& tensor : file.tensors()) {
      last = tensor.bytes.front();
      last = tensor.bytes.back();
    }
  } catch (const rotulus::protocol::Error& error) {
    CHECK(error.code() == rotulus::protocol::ErrorCode::malformed_file ||
              error.code() == rotulus::protocol::ErrorCode::unsupported,
          error.message());
  }
  return 0;
}
