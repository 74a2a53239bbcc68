#include "worker/model/tokenizer/utf8.h"

#include <cstring>

namespace rotulus::worker::tokenizer {
namespace {

// What may follow a lead byte: the length of the character and the range of its second byte (later ones: 80..BF).
struct Lead {
  std::uint8_t length;  // 0: no character begins so
  std::uint8_t second_min;
  std::uint8_t second_max;
};

constexpr Lead lead_of(std::uint8_t byte) {
  if (byte < 0x80) return {1, 0, 0};
  if (byte < 0xC2) return {0, 0, 0};
  if (byte < 0xE0) return {2, 0x80, 0xBF};
  if (byte == 0xE0) return {3, 0xA0, 0xBF};
  if (byte == 0xED) return {3, 0x80, 0x9F};
  if (byte < 0xF0) return {3, 0x80, 0xBF};
  if (byte == 0xF0) return {4, 0x90, 0xBF};
  if (byte < 0xF4) return {4, 0x80, 0xBF};
  if (byte == 0xF4) return {4, 0x80, 0x8F};
  return {0, 0, 0};
}

}  // namespace

Utf8Step step_utf8(std::string_view rest) {
  using Kind = Utf8Step::Kind;
  const Lead lead = lead_of(static_cast<std::uint8_t>(rest[0]));
  if (lead.length == 0) return {Kind::invalid, 1};
  for (std::size_t i = 1; i < lead.length; ++i) {
    if (i == rest.size()) return {Kind::incomplete, i};
    const auto byte = static_cast<std::uint8_t>(rest[i]);
    const std::uint8_t min = i == 1 ? lead.second_min : 0x80;
    const std::uint8_t max = i == 1 ? lead.second_max : 0xBF;
    if (byte < min || byte > max) return {Kind::invalid, i};
  }
  return {Kind::character, lead.length};
}

std::size_t valid_utf8_prefix(std::string_view text) {
  std::size_t i = 0;
  while (i < text.size()) {
    std::uint64_t eight = 0;
    while (i + sizeof(eight) <= text.size()) {  // most text is ASCII
      std::memcpy(&eight, text.data() + i, sizeof(eight));
      if ((eight & 0x8080808080808080ull) != 0) break;
      i += sizeof(eight);
    }
    if (i == text.size()) break;
    const Utf8Step step = step_utf8(text.substr(i));
    if (step.kind != Utf8Step::Kind::character) break;
    i += step.bytes;
  }
  return i;
}

void append_utf8(char32_t code_point, std::string& text) {
  const auto tail = [&](int shift) { text += static_cast<char>(0x80 | ((code_point >> shift) & 0x3F)); };
  if (code_point < 0x80) {
    text += static_cast<char>(code_point);
  } else if (code_point < 0x800) {
    text += static_cast<char>(0xC0 | (code_point >> 6));
    tail(0);
  } else if (code_point < 0x10000) {
    text += static_cast<char>(0xE0 | (code_point >> 12));
    tail(6);
    tail(0);
  } else {
    text += static_cast<char>(0xF0 | (code_point >> 18));
    tail(12);
    tail(6);
    tail(0);
  }
}

char32_t decode_utf8(std::string_view character) {
  const auto lead = static_cast<std::uint8_t>(character[0]);
  if (character.size() == 1) return lead;
  char32_t code_point = lead & (0x7Fu >> character.size());
  for (const char byte : character.substr(1)) code_point = code_point << 6 | (static_cast<std::uint8_t>(byte) & 0x3F);
  return code_point;
}

}  // namespace rotulus::worker::tokenizer
