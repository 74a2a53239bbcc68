// The alphabet in which byte-level BPE writes bytes as printable characters (GPT-2, bytes_to_unicode): a printable
// Latin-1 byte is its own code point, the other 68 are U+0100 … U+0143 in ascending order.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace rotulus::worker::tokenizer {

// The character, in UTF-8, that stands for `byte`.
std::string spell_byte(std::uint8_t byte);

// The bytes that `text` spells; nothing where it has a character outside the alphabet.
std::optional<std::string> spelled_bytes(std::string_view text);

}  // namespace rotulus::worker::tokenizer
