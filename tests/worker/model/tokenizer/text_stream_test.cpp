// Whole characters only, however the bytes arrive; what is no character becomes U+FFFD as the Unicode standard counts
// it (one for each maximal subpart, table 3-11).
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <string>

#include "tests/worker/model/text_generator.h"
#include "worker/model/tokenizer.h"

namespace rotulus::worker {
namespace {

std::string all_at_once(std::string_view bytes) {
  TextStream stream;
  std::string text = stream.append(bytes);
  return text + stream.finish();
}

TEST(TextStream, HoldsBackAnUnfinishedCharacter) {
  TextStream stream;
  EXPECT_EQ(stream.append("a\xF0"), "a");
  EXPECT_EQ(stream.append("\x9F\x98"), "");
  EXPECT_EQ(stream.append("\x80z"), "\xF0\x9F\x98\x80z");
  EXPECT_EQ(stream.finish(), "");
}

TEST(TextStream, ReplacesEachMaximalSubpart) {
  EXPECT_EQ(all_at_once("\x61\xF1\x80\x80\xE1\x80\xC2\x62\x80\x63\x80\xBF\x64"),
            "a\uFFFD\uFFFD\uFFFDb\uFFFDc\uFFFD\uFFFDd");
  EXPECT_EQ(all_at_once("\xED\xA0\x80"), "\uFFFD\uFFFD\uFFFD");
  EXPECT_EQ(all_at_once("\xF0\x80\x80\x41"),
            "\uFFFD\uFFFD\uFFFD"
            "A");
}

TEST(TextStream, ReplacesWhatIsLeftAtTheEndOnce) {
  TextStream stream;
  EXPECT_EQ(stream.append("\xF0\x9F\x98"), "");
  EXPECT_EQ(stream.finish(), "\uFFFD");
  EXPECT_EQ(stream.finish(), "");
}

RC_GTEST_PROP(TextStream, GivesTheSameTextForAnyPieces, ()) {
  const std::string bytes = *any_text();
  TextStream stream;
  std::string text;
  std::string_view rest = bytes;
  while (!rest.empty()) {
    const auto size = *rc::gen::inRange<std::size_t>(1, rest.size() + 1);
    text += stream.append(rest.substr(0, size));
    RC_ASSERT(all_at_once(text) == text);  // whole characters so far
    rest.remove_prefix(size);
  }
  text += stream.finish();
  RC_ASSERT(text == all_at_once(bytes));
}

}  // namespace
}  // namespace rotulus::worker
