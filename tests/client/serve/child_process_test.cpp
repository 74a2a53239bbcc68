// Lines are cut by hand-made bytes; processes are real ones, ended by the test that started them.
#include "client/serve/child_process.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/serve/stray_processes.h"

namespace rotulus::client {
namespace {

TEST(OutputLines, GiveWholeLinesHoweverTheyArrive) {
  std::vector<std::string> lines;
  OutputLines output([&](std::string_view line) { lines.emplace_back(line); });
  output.feed("on");
  output.feed("e\n\ntw");
  output.feed("o");
  EXPECT_EQ(lines, (std::vector<std::string>{"one", ""}));
  output.finish();
  EXPECT_EQ(lines.back(), "two");
}

TEST(OutputLines, RememberTheLastWordsOutsideBanners) {
  OutputLines output([](std::string_view) {});
  std::string rule(76, '-');
  output.feed("loading\nrotulus-worker: bad magic\n \n" + rule + "\nPrimary job ended.\n" + rule + "\n");
  output.feed("[host:71] 1 more process has sent help message help-mpi-api.txt / mpi-abort\n");
  output.feed("[host:71] Set MCA parameter \"orte_base_help_aggregate\" to 0 to see all help / error messages\n");
  EXPECT_EQ(output.last_words(), "rotulus-worker: bad magic");
}

TEST(OutputLines, CutALineWithoutEnd) {
  std::size_t longest = 0;
  OutputLines output([&](std::string_view line) { longest = std::max(longest, line.size()); });
  output.feed(std::string(1 << 20, 'x'));
  EXPECT_EQ(longest, 16u << 10);
}

// Reads a child's output to its end and gives its exit status.
int finish(ChildProcess& child) {
  int status = 0;
  EXPECT_EQ(::waitpid(child.pid(), &status, 0), child.pid());
  child.read_output();
  return status;
}

TEST(ChildProcess, GivesBothOutputsAndTheAddedEnvironment) {
  std::string text;
  ChildProcess child({"/bin/sh", "-c", "echo $ROTULUS_TEST_WORD; echo two >&2; cat; exit 3"},
                     {{"ROTULUS_TEST_WORD", "one"}}, [&](std::string_view line) { text += std::string(line) + ";"; });
  EXPECT_EQ(WEXITSTATUS(finish(child)), 3);
  EXPECT_EQ(text, "one;two;");
  EXPECT_EQ(child.output(), -1);
}

TEST(ChildProcess, SaysWhatCouldNotBeStarted) {
  ChildProcess child({"/no/such/program"}, {}, [](std::string_view) {});
  EXPECT_EQ(WEXITSTATUS(finish(child)), 127);
  EXPECT_EQ(child.last_words(), "cannot start /no/such/program: No such file or directory");
}

TEST(ChildProcess, HasAGroupOfItsOwnInTheSameSession) {
  ChildProcess child({"/bin/sh", "-c", "read x < /proc/self/stat; set -- $x; echo $5 $6"}, {}, [](std::string_view) {});
  finish(child);
  EXPECT_EQ(child.last_words(), std::to_string(child.pid()) + " " + std::to_string(::getsid(0)));
}

TEST(StrayProcesses, AreKilledAndThoseThatAreKeptAreNot) {
  ChildProcess kept({"/bin/sleep", "60"}, {}, [](std::string_view) {});
  ChildProcess stray({"/bin/sleep", "60"}, {}, [](std::string_view) {});
  EXPECT_TRUE(kill_children_except({kept.pid()}, std::chrono::seconds(10)));
  EXPECT_EQ(::kill(stray.pid(), 0), -1);
  EXPECT_EQ(::kill(kept.pid(), 0), 0);
  EXPECT_TRUE(kill_children_except({}, std::chrono::seconds(10)));
}

}  // namespace
}  // namespace rotulus::client
