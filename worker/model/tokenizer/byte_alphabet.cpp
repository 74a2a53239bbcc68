#include "worker/model/tokenizer/byte_alphabet.h"

#include <array>

#include "worker/model/tokenizer/utf8.h"

namespace rotulus::worker::tokenizer {
namespace {

constexpr bool stands_for_itself(unsigned byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || (byte >= 0xAE && byte <= 0xFF);
}

constexpr std::array<char16_t, 256> kSpelling = [] {
  std::array<char16_t, 256> spelling{};
  char16_t next = 0x100;
  for (unsigned byte = 0; byte < 256; ++byte)
    spelling[byte] = stands_for_itself(byte) ? static_cast<char16_t>(byte) : next++;
  return spelling;
}();

constexpr std::size_t kCodePoints = 0x144;
constexpr std::int16_t kNoByte = -1;

constexpr std::array<std::int16_t, kCodePoints> kBytes = [] {
  std::array<std::int16_t, kCodePoints> bytes{};
  bytes.fill(kNoByte);
  for (unsigned byte = 0; byte < 256; ++byte) bytes[kSpelling[byte]] = static_cast<std::int16_t>(byte);
  return bytes;
}();

}  // namespace

std::string spell_byte(std::uint8_t byte) {
  std::string text;
  append_utf8(kSpelling[byte], text);
  return text;
}

std::optional<std::string> spelled_bytes(std::string_view text) {
  std::string bytes;
  while (!text.empty()) {
    const Utf8Step step = step_utf8(text);
    if (step.kind != Utf8Step::Kind::character) return std::nullopt;
    const char32_t code_point = decode_utf8(text.substr(0, step.bytes));
    if (code_point >= kCodePoints || kBytes[code_point] == kNoByte) return std::nullopt;
    bytes += static_cast<char>(kBytes[code_point]);
    text.remove_prefix(step.bytes);
  }
  return bytes;
}

}  // namespace rotulus::worker::tokenizer
