#include "worker/answer_text.h"

#include <gtest/gtest.h>

namespace rotulus::worker {
namespace {

std::string say(AnswerText& text, std::initializer_list<std::string_view> tokens) {
  std::string said;
  for (const std::string_view token : tokens) said += text.append(token);
  return said;
}

TEST(AnswerText, HoldsBackWhatMayBecomeAStopString) {
  AnswerText text({"END"});
  EXPECT_EQ(text.append("the E"), "the ");
  EXPECT_EQ(text.append("N"), "");
  EXPECT_EQ(text.append("T"), "ENT");
  EXPECT_FALSE(text.is_stopped());
}

TEST(AnswerText, IsCutBeforeAStopStringThatSpansTokens) {
  AnswerText text({"\n\n", "END"});
  EXPECT_EQ(say(text, {"yes\n", "\nno"}), "yes");
  EXPECT_TRUE(text.is_stopped());
  EXPECT_EQ(text.append("more"), "");
  EXPECT_EQ(text.finish(), "");
}

TEST(AnswerText, TakesTheEarliestOfSeveralStops) {
  AnswerText text({"bc", "ab"});
  EXPECT_EQ(text.append("xabc"), "x");
  EXPECT_TRUE(text.is_stopped());
}

TEST(AnswerText, GivesWhatWasHeldBackAtTheEnd) {
  AnswerText text({"END"});
  EXPECT_EQ(say(text, {"E", "N"}), "");
  EXPECT_EQ(text.finish(), "EN");
}

TEST(AnswerText, ShowsWholeCharactersOnly) {
  AnswerText text({});
  EXPECT_EQ(text.append("\xf0\x9f"), "");
  EXPECT_EQ(text.append("\x99\x82!"), "\xf0\x9f\x99\x82!");
}

}  // namespace
}  // namespace rotulus::worker
