// Texts for people: numbers, tables, progress. The progress display is driven with a clock of the test's own.
#include "client/output.h"

#include <gtest/gtest.h>

namespace rotulus::client {
namespace {

using namespace std::chrono_literals;

TEST(Output, WritesNumbersForPeople) {
  EXPECT_EQ(describe_bytes(812), "812 B");
  EXPECT_EQ(describe_bytes(1536), "1.5 KiB");
  EXPECT_EQ(describe_bytes(3ull << 40), "3.0 TiB");
  EXPECT_EQ(describe_count(0), "0");
  EXPECT_EQ(describe_count(999), "999");
  EXPECT_EQ(describe_count(1234567), "1,234,567");
  EXPECT_EQ(describe_age(-5s), "0 s");
  EXPECT_EQ(describe_age(119s), "119 s");
  EXPECT_EQ(describe_age(120s), "2 min");
  EXPECT_EQ(describe_age(50h), "2 d");
}

TEST(Output, AlignsTheColumnsOfATable) {
  EXPECT_EQ(format_table({{"NAME", "ID"}, {"a", "ctx_1"}, {"longer", ""}}), "NAME    ID\na       ctx_1\nlonger\n");
}

struct Display {
  explicit Display(ProgressDisplay::Style style)
      : progress(
            style, [this](std::string_view written) { text += written; }, [this] { return now; }) {}
  std::string text;
  std::chrono::steady_clock::time_point now{1000s};
  ProgressDisplay progress;
};

TEST(ProgressDisplay, WritesALineAtMostEveryFiveSecondsWhereThereIsNoTerminal) {
  Display display(ProgressDisplay::Style::lines);
  display.progress.show({"tokenizing", 0, 0, -1});
  display.now += 4s;
  display.progress.show({"computing", 1000, 6000, 9500});
  display.now += 1s;
  display.progress.show({"computing", 1500, 6000, 8500});
  display.progress.finish();
  EXPECT_EQ(display.text, "tokenizing\ncomputing   25 %  1,500 of 6,000 tokens  9 s left\n");
}

TEST(ProgressDisplay, RedrawsABarOverItsOwnRestOnATerminal) {
  Display display(ProgressDisplay::Style::bar);
  display.progress.show({"computing", 3000, 6000, 500});
  std::string first = display.text;
  display.text.clear();
  display.progress.show({"done", 6000, 6000, -1});
  EXPECT_EQ(first, "\r[############............] computing   50 %  3,000 of 6,000 tokens  1 s left");
  EXPECT_EQ(display.text.size(), first.size());
  EXPECT_TRUE(display.text.starts_with("\r[########################] done  100 %")) << display.text;
  display.text.clear();
  display.progress.finish();
  EXPECT_EQ(display.text, "\n");
}

TEST(ProgressDisplay, SaysNothingWhereItIsNotWanted) {
  Display display(ProgressDisplay::Style::none);
  display.progress.show({"computing", 1, 2, 3});
  display.progress.finish();
  EXPECT_EQ(display.text, "");
}

TEST(ResultFile, NamesAFileThatCannotBeWritten) {
  EXPECT_ANY_THROW(ResultFile("/no/such/directory/file"));
}

}  // namespace
}  // namespace rotulus::client
