// Random texts on which tokenizers go wrong: words and numbers, white space of all sorts, signs, several scripts, bytes
// that are no characters, texts that look like special tokens, runs.
#pragma once

#include <rapidcheck.h>

#include <string>
#include <vector>

namespace rotulus::worker {

inline rc::Gen<std::string> text_part() {
  static const std::vector<std::string> kParts = {"a",
                                                  "the",
                                                  "Word",
                                                  "it's",
                                                  "'ll",
                                                  "'",
                                                  "'S",
                                                  "1",
                                                  "42",
                                                  "2024",
                                                  " ",
                                                  "  ",
                                                  "   ",
                                                  "\t",
                                                  "\n",
                                                  "\n\n",
                                                  "\r\n",
                                                  "\xC2\xA0",
                                                  "\xE3\x80\x80",
                                                  "\xE2\x80\xA8",
                                                  "!",
                                                  "...",
                                                  "(x)",
                                                  "--",
                                                  "_",
                                                  "\xC3\xA9",
                                                  "\xCF\x80",
                                                  "\xE5\xAD\x97",
                                                  "\xF0\x9F\x98\x80",
                                                  "\xE2\x80\x8D",
                                                  "\xCC\x81",
                                                  "\xD9\xA3",
                                                  "\xC2\xBD",
                                                  "\xFF",
                                                  "\x80",
                                                  "\xE5\xAD",
                                                  "\xF0\x9F",
                                                  "\xED\xA0\x80",
                                                  "<|im_start|>",
                                                  "<|im_end|>"};
  return rc::gen::oneOf(
      rc::gen::elementOf(kParts), rc::gen::elementOf(kParts),
      rc::gen::map(rc::gen::inRange(0, 256), [](int byte) { return std::string(1, static_cast<char>(byte)); }),
      rc::gen::map(rc::gen::pair(rc::gen::elementOf(kParts), rc::gen::inRange<std::size_t>(1, 200)),
                   [](const auto& run) {
                     std::string text;
                     for (std::size_t i = 0; i < run.second; ++i) text += run.first;
                     return text;
                   }));
}

inline rc::Gen<std::string> any_text() {
  return rc::gen::map(rc::gen::container<std::vector<std::string>>(text_part()), [](const auto& parts) {
    std::string text;
    for (const std::string& part : parts) text += part;
    return text;
  });
}

}  // namespace rotulus::worker
