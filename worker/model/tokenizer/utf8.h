// UTF-8 as the Unicode standard defines it (table 3-7: no overlong forms, no surrogates, nothing above U+10FFFF).
//
// Pure functions. Text that has not all arrived yet is a case of its own: its last bytes may be the start of a
// character.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace rotulus::worker::tokenizer {

struct Utf8Step {
  enum class Kind : std::uint8_t {
    character,  // `bytes` are one whole character
    invalid,    // `bytes` are a maximal invalid subpart: what one U+FFFD stands for
    incomplete  // all that is left, `bytes` long, begins a character that more bytes could complete
  } kind;
  std::size_t bytes;
};

// What stands at the start of `rest`, which is not empty.
Utf8Step step_utf8(std::string_view rest);

// How many bytes at the start of `text` are whole characters.
std::size_t valid_utf8_prefix(std::string_view text);

void append_utf8(char32_t code_point, std::string& text);

// The code point of one whole character (as step_utf8 found it).
char32_t decode_utf8(std::string_view character);

}  // namespace rotulus::worker::tokenizer
