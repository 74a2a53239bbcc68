// Any bytes are either a GGUF file whose tensors lie inside it and whose numbers make a model, or an Error.
#include <cstddef>
#include <cstdint>
#include <span>

#include "protocol/error.h"
#include "worker/model/gguf_file.h"
#include "worker/model/hyperparameters.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  try {
    const auto file = rotulus::worker::GgufFile::parse(bytes);
    volatile std::byte last{};  // so that the sanitizer sees each tensor's ends being read
    for (const auto& tensor : file.tensors()) {
      last = tensor.bytes.front();
      last = tensor.bytes.back();
    }
    rotulus::worker::read_hyperparameters(file);
  } catch (const rotulus::protocol::Error& error) {
    CHECK(error.code() == rotulus::protocol::ErrorCode::malformed_file ||
              error.code() == rotulus::protocol::ErrorCode::unsupported,
          error.message());
  }
  return 0;
}
