// Bytes of a client as a body: strict JSON in pieces, then as each kind of completion request. Whatever they are, the
// outcome is a value that reads back as itself, or an Error{invalid_argument | not_found}.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "coordinator/http/json_reader.h"
#include "coordinator/http/openai_request.h"
#include "protocol/error.h"

namespace {

using namespace rotulus;
using namespace rotulus::coordinator::http;

JsonValue parse_in_pieces(std::string_view bytes, std::size_t piece) {
  JsonParser parser;
  for (; !bytes.empty(); bytes.remove_prefix(std::min(piece, bytes.size()))) parser.write(bytes.substr(0, piece));
  return parser.finish();
}

template <typename Work>
bool is_taken(Work work) {
  try {
    work();
    return true;
  } catch (const protocol::Error& error) {
    if (error.code() != protocol::ErrorCode::invalid_argument && error.code() != protocol::ErrorCode::not_found)
      abort();
    if (error.message().empty()) abort();
    return false;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::size_t piece = 1 + data[0] % 16;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  std::string in_pieces;
  std::string at_once;
  const bool is_json = is_taken([&] { in_pieces = to_json(parse_in_pieces(bytes, piece)); });
  if (is_json != is_taken([&] { at_once = to_json(parse_json(bytes)); }) || in_pieces != at_once) abort();
  if (!is_json) return 0;
  if (to_json(parse_json(at_once)) != at_once) abort();
  is_taken([&] { read_completion_request(CompletionKind::chat, parse_json(bytes)); });
  is_taken([&] { read_completion_request(CompletionKind::text, parse_json(bytes)); });
  return 0;
}
