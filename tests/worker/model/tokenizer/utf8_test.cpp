// Every sequence of up to three bytes, and the borders of four, against the definition of UTF-8: an encoder of scalar
// values.
#include "worker/model/tokenizer/utf8.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

namespace rotulus::worker::tokenizer {
namespace {

using Kind = Utf8Step::Kind;

// All characters, and all beginnings of characters.
struct AllCharacters {
  std::set<std::string> whole;
  std::set<std::string> beginnings;
  AllCharacters() {
    for (char32_t c = 0; c <= 0x10FFFF; ++c) {
      if (c >= 0xD800 && c < 0xE000) continue;
      std::string text;
      append_utf8(c, text);
      EXPECT_EQ(decode_utf8(text), c);
      for (std::size_t length = 1; length < text.size(); ++length) beginnings.insert(text.substr(0, length));
      whole.insert(std::move(text));
    }
  }
};

void expect_step(const AllCharacters& all, const std::string& text) {
  const Utf8Step step = step_utf8(text);
  std::size_t longest_beginning = 0;
  for (std::size_t length = 1; length <= text.size(); ++length) {
    if (all.whole.contains(text.substr(0, length))) {
      ASSERT_EQ(step.kind, Kind::character);
      ASSERT_EQ(step.bytes, length);
      return;
    }
    if (all.beginnings.contains(text.substr(0, length))) longest_beginning = length;
  }
  if (longest_beginning == text.size()) {
    ASSERT_EQ(step.kind, Kind::incomplete);
    ASSERT_EQ(step.bytes, text.size());
  } else {
    ASSERT_EQ(step.kind, Kind::invalid);
    ASSERT_EQ(step.bytes, std::max<std::size_t>(longest_beginning, 1));
  }
}

TEST(Utf8, StepsOverCharactersInvalidPartsAndBeginnings) {
  const AllCharacters all;
  const std::string bytes =
      "\x01\x7F\x80\x8F\x90\x9F\xA0\xBF\xC0\xC1\xC2\xDF\xE0\xE1\xEC\xED\xEE\xEF\xF0\xF1\xF3\xF4\xF5\xFF";
  for (const char a : bytes) {
    expect_step(all, {a});
    for (const char b : bytes) {
      expect_step(all, {a, b});
      for (const char c : bytes) {
        expect_step(all, {a, b, c});
        for (const char d : bytes) {
          expect_step(all, {a, b, c, d});
          if (::testing::Test::HasFatalFailure()) return;
        }
      }
    }
  }
}

TEST(Utf8, FindsTheFirstByteThatIsNoCharacter) {
  EXPECT_EQ(valid_utf8_prefix(""), 0u);
  for (std::size_t length = 0; length < 20; ++length) {
    const std::string ascii(length, 'a');
    EXPECT_EQ(valid_utf8_prefix(ascii), length);
    EXPECT_EQ(valid_utf8_prefix(ascii + "\xC3\xA9"), length + 2);
    EXPECT_EQ(valid_utf8_prefix(ascii + "\xFF" + ascii), length);
    EXPECT_EQ(valid_utf8_prefix(ascii + "\xF0\x9F\x98"), length);
  }
}

}  // namespace
}  // namespace rotulus::worker::tokenizer
