// The real program `rotulus serve`, over small shell scripts in place of the coordinator and of mpirun: each writes a
// line to a log when it starts, and does what the test says. Readiness is answered by an HTTP server of the test's.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <sstream>
#include <thread>

#include "client/serve/child_process.h"
#include "client/serve/command_lines.h"
#include "tests/client/fake_server.h"
#include "tests/client/temporary_directory.h"

namespace rotulus::client {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

constexpr auto kPatience = 60s;  // never reached unless something is broken
constexpr const char* kWait = "sleep 60 & wait $!";

bool lives(pid_t pid) {
  return ::kill(pid, 0) == 0;
}

class ServeTest : public testing::Test {
 protected:
  ServeTest() {
    write_program("rotulus-coordinator", R"(
      echo "coordinator $$ $*" >> log
      while [ $# -gt 0 ]; do [ "$1" = --control-port-file ] && port_file=$2; shift; done
      trap 'echo drained >> log; exit 0' TERM
      echo 4711 > port.part && mv port.part "$port_file"
      eval "$FAKE_COORDINATOR")");
    write_program("rotulus-worker", "");
    write_program("mpirun", "echo \"workers $$ $*\" >> log\neval \"$FAKE_WORKERS\"");
    directory_.write("model.gguf", "GGUF");
  }
  ~ServeTest() override {
    if (!serve_) return;
    serve_->send(SIGKILL);
    ::waitpid(serve_->pid(), nullptr, 0);
  }

  void write_program(const std::string& name, const std::string& script) const {
    fs::permissions(directory_.write(name, "#!/bin/bash\ncd '" + path("") + "'\n" + script + "\n"),
                    fs::perms::owner_all);
  }
  std::string path(const std::string& name) const { return (directory_.path() / name).string(); }

  void start(const std::string& coordinator, const std::string& workers, const std::vector<std::string>& more = {}) {
    std::vector<std::string> arguments{
        ROTULUS_PROGRAM,       "serve",  "-m",       path("model.gguf"), "--store", path("store"),
        "--program-directory", path(""), "--mpirun", path("mpirun"),     "--port",  readiness_.port()};
    arguments.insert(arguments.end(), more.begin(), more.end());
    serve_ = std::make_unique<ChildProcess>(
        arguments, std::map<std::string, std::string>{{"FAKE_COORDINATOR", coordinator}, {"FAKE_WORKERS", workers}},
        [this](std::string_view line) { said_ += std::string(line) + "\n"; });
  }

  // Process ids in the log of what was started under this name, and the arguments it was given.
  std::vector<pid_t> started(const std::string& name) const {
    std::vector<pid_t> pids;
    std::istringstream log(directory_.read("log"));
    for (std::string line; std::getline(log, line);)
      if (line.starts_with(name + " ")) pids.push_back(std::stoi(line.substr(name.size() + 1)));
    return pids;
  }

  template <typename Condition>
  void wait_until(Condition condition, const std::string& what) {
    auto deadline = std::chrono::steady_clock::now() + kPatience;
    while (!condition()) {
      serve_->read_output();
      ASSERT_LT(std::chrono::steady_clock::now(), deadline) << what << "\n" << said_ << directory_.read("log");
      std::this_thread::sleep_for(5ms);
    }
  }
  void wait_for_start(const std::string& name, std::size_t times) {
    wait_until([&] { return started(name).size() >= times; }, name + " did not start");
  }
  void wait_until_said(const std::string& text) {
    wait_until([&] { return said_.find(text) != std::string::npos; }, "never said: " + text);
  }
  // The test's server answers for scripts that have not begun yet, so their own lines are waited for as well.
  void wait_until_up() {
    wait_until_said("ready at");
    wait_for_start("coordinator", 1);
    wait_for_start("workers", 1);
  }

  int wait_for_end() {
    int status = -1;
    wait_until([&] { return ::waitpid(serve_->pid(), &status, WNOHANG) == serve_->pid(); }, "serve did not end");
    serve_->read_output();
    serve_.reset();
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }

  TemporaryDirectory directory_;
  std::atomic<bool> is_ready_ = true;
  FakeServer readiness_{[this](const std::string&) {
    return is_ready_ ? http_answer("{\"status\":\"ok\"}") : http_answer("{}", "503 Service Unavailable");
  }};
  std::unique_ptr<ChildProcess> serve_;
  std::string said_;
};

TEST_F(ServeTest, StartsTheCoordinatorThenItsWorkersAndSaysWhereItIsReady) {
  start(kWait, kWait, {"-n", "3"});
  wait_until_said("ready at http://127.0.0.1:" + readiness_.port() + " (3 ranks");
  wait_for_start("workers", 1);
  std::string log = directory_.read("log");
  EXPECT_LT(log.find("coordinator "), log.find("workers "));
  EXPECT_NE(log.find("--coordinator 127.0.0.1:4711"), std::string::npos) << log;
}

TEST_F(ServeTest, PrefixesWhatItsChildrenSay) {
  start("echo hello >&2; " + std::string(kWait), kWait);
  wait_until_said("[coordinator] hello\n");
}

TEST_F(ServeTest, StartsAKilledWorkerGroupAgainAndKeepsTheCoordinator) {
  start(kWait, kWait);
  wait_until_up();
  ::kill(started("workers").at(0), SIGKILL);
  wait_for_start("workers", 2);
  EXPECT_EQ(started("coordinator").size(), 1u);
  EXPECT_TRUE(lives(started("coordinator")[0]));
}

TEST_F(ServeTest, GivesANewCoordinatorANewWorkerGroup) {
  start(kWait, kWait);
  wait_until_up();
  ::kill(started("coordinator").at(0), SIGKILL);
  wait_for_start("workers", 2);
  EXPECT_EQ(started("coordinator").size(), 2u);
  EXPECT_FALSE(lives(started("workers")[0]));
}

TEST_F(ServeTest, EndsRanksThatLostTheirMpirunBeforeItStartsOthers) {
  start(kWait, "setsid sleep 60 & echo \"rank $!\" >> log; " + std::string(kWait));
  wait_for_start("rank", 1);
  ::kill(started("workers").at(0), SIGKILL);
  wait_for_start("workers", 2);
  EXPECT_FALSE(lives(started("rank")[0]));
}

TEST_F(ServeTest, GivesUpOnWorkersThatCannotStartAndShowsTheirLastWords) {
  is_ready_ = false;
  start(kWait, "echo 'rotulus-worker: model.gguf: bad magic'; exit 1");
  EXPECT_EQ(wait_for_end(), 1);
  EXPECT_EQ(started("workers").size(), 5u);
  EXPECT_NE(said_.find("last words: rotulus-worker: model.gguf: bad magic"), std::string::npos) << said_;
  EXPECT_FALSE(lives(started("coordinator").at(0)));
}

TEST_F(ServeTest, DrainsOnSigtermAndEndsWell) {
  start(kWait, "until grep -q drained log; do sleep 0.02; done; echo dismissed >> log");
  wait_until_up();
  serve_->send(SIGTERM);
  EXPECT_EQ(wait_for_end(), 0);
  EXPECT_NE(directory_.read("log").find("dismissed"), std::string::npos);
  EXPECT_FALSE(lives(started("coordinator")[0]));
  EXPECT_FALSE(lives(started("workers")[0]));
}

TEST_F(ServeTest, EndsAtOnceOnASecondSignal) {
  start("trap 'echo deaf >> log' TERM; echo \"armed $$\" >> log; while :; do sleep 0.02; done", kWait);
  wait_until_up();
  wait_for_start("armed", 1);
  serve_->send(SIGTERM);
  wait_until([&] { return directory_.read("log").find("deaf") != std::string::npos; }, "SIGTERM did not arrive");
  serve_->send(SIGINT);
  EXPECT_EQ(wait_for_end(), 1);
  EXPECT_FALSE(lives(started("coordinator")[0]));
  EXPECT_FALSE(lives(started("workers")[0]));
}

TEST_F(ServeTest, LeavesNoProcessBehindWhenItIsKilled) {
  start("exec sleep 60", "exec sleep 60");
  wait_until_up();
  serve_->send(SIGKILL);
  EXPECT_EQ(wait_for_end(), 128 + SIGKILL);
  fs::path shared_memory = run_paths(path("store")).shared_memory;
  EXPECT_TRUE(fs::exists(shared_memory));
  for (const char* name : {"coordinator", "workers"}) {
    pid_t pid = started(name).at(0);
    auto deadline = std::chrono::steady_clock::now() + kPatience;
    while (lives(pid) && std::chrono::steady_clock::now() < deadline) std::this_thread::sleep_for(5ms);
    EXPECT_FALSE(lives(pid)) << name;
  }
  start(kWait, kWait);  // the store is free again, and what lay in shared memory is removed
  wait_for_start("workers", 2);
  serve_->send(SIGTERM);
  serve_->send(SIGINT);
  wait_for_end();
  EXPECT_FALSE(fs::exists(shared_memory));
}

TEST_F(ServeTest, RebuildsTheCatalogueOnceOnly) {
  start(kWait, kWait, {"--rebuild-catalogue"});
  wait_until_up();
  ::kill(started("coordinator").at(0), SIGKILL);
  wait_for_start("coordinator", 2);
  std::string log = directory_.read("log");
  EXPECT_NE(log.find("--rebuild-catalogue"), std::string::npos);
  EXPECT_EQ(log.find("--rebuild-catalogue"), log.rfind("--rebuild-catalogue"));
}

TEST_F(ServeTest, HandsTheKeyOnWithoutShowingIt) {
  start("echo \"key $ROTULUS_API_KEY\"; " + std::string(kWait), kWait, {"--api-key", "k3y", "--host", "0.0.0.0"});
  wait_until_said("[coordinator] key k3y\n");
  EXPECT_EQ(directory_.read("log").find("k3y"), std::string::npos);
}

TEST_F(ServeTest, RefusesAtOnceWhatCannotBe) {
  start(kWait, kWait, {"--host", "0.0.0.0"});
  EXPECT_EQ(wait_for_end(), 1);
  EXPECT_NE(said_.find("give an --api-key"), std::string::npos) << said_;
  fs::remove(directory_.path() / "model.gguf");
  start(kWait, kWait);
  EXPECT_EQ(wait_for_end(), 1);
  EXPECT_NE(said_.find("cannot read the model " + path("model.gguf")), std::string::npos) << said_;
  EXPECT_TRUE(started("coordinator").empty());
}

TEST_F(ServeTest, OtherVerbsAreProgramsBesideThisOne) {
  fs::copy_file(ROTULUS_PROGRAM, directory_.path() / "rotulus");
  write_program("rotulus-hello", "echo \"hello $*\"");
  auto run = [this](const std::string& verb) {
    serve_ = std::make_unique<ChildProcess>(std::vector<std::string>{path("rotulus"), verb, "a", "--b"},
                                            std::map<std::string, std::string>{},
                                            [this](std::string_view line) { said_ += std::string(line) + "\n"; });
    return wait_for_end();
  };
  EXPECT_EQ(run("hello"), 0);
  EXPECT_EQ(said_, "hello a --b\n");
  EXPECT_EQ(run("shwo"), 2);
  EXPECT_NE(said_.find("did you mean show?"), std::string::npos) << said_;
}

}  // namespace
}  // namespace rotulus::client
