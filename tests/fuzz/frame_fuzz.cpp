// Bytes as a frame, as a message and as each stored record. What is accepted must be written back to the same bytes
// once it has been read and written: what two rooms understand by it is one thing.
#include <cstdlib>

#include "protocol/codec.h"
#include "protocol/error.h"
#include "protocol/framing.h"

namespace {

using namespace rotulus::protocol;

template <typename Read, typename Write>
void try_both_ways(std::span<const std::byte> bytes, Read read, Write write) {
  try {
    const auto once = write(read(bytes));
    if (write(read(once)) != once) std::abort();
  } catch (const Error& error) {
    if (error.code() != ErrorCode::invalid_argument) std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::span bytes(reinterpret_cast<const std::byte*>(data), size);
  try_both_ways(bytes, decode, encode);
  try_both_ways(bytes, decode_manifest_record, [](const ManifestRecord& record) { return encode_record(record); });
  try_both_ways(bytes, decode_object_record, [](const ObjectRecord& record) { return encode_record(record); });
  if (size < kFrameHeaderBytes) return 0;
  try {
    parse_frame(bytes.first<kFrameHeaderBytes>(), bytes.subspan(kFrameHeaderBytes));
  } catch (const Error& error) {
    if (error.code() != ErrorCode::invalid_argument) std::abort();
  }
  return 0;
}
