// Pure functions from options to argument vectors.
#include "client/serve/command_lines.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace rotulus::client {
namespace {

ServeOptions some_options() {
  return {.model = "m.gguf", .ranks = 2, .store = "/s", .program_directory = "/bin"};
}

// True where `wanted` stands in `all` in one piece.
bool holds(const Arguments& all, const Arguments& wanted) {
  return std::search(all.begin(), all.end(), wanted.begin(), wanted.end()) != all.end();
}

TEST(CommandLines, GiveTheCoordinatorItsPlaceAndNoKeyThatOthersCouldRead) {
  ServeOptions options = some_options();
  options.must_rebuild_catalogue = true;
  Arguments arguments = coordinator_arguments(options, run_paths("/s"));
  EXPECT_EQ(arguments[0], "/bin/rotulus-coordinator");
  EXPECT_TRUE(holds(arguments, {"--host", "127.0.0.1", "--port", "8080", "--store", "/s"}));
  EXPECT_TRUE(holds(arguments, {"--control-port", "0", "--control-port-file", "/s/run/control_port"}));
  EXPECT_TRUE(holds(arguments, {"--secret-file", "/s/run/secret"}));
  EXPECT_TRUE(holds(arguments, {"--rebuild-catalogue"}));
  EXPECT_FALSE(holds(arguments, {"--api-key"}));
}

TEST(CommandLines, StartOneWorkerGroupForTheMachine) {
  Arguments arguments = worker_group_arguments(some_options(), run_paths("/s"), {.cores = 8, .is_root = false}, 4711);
  EXPECT_TRUE(holds(arguments, {"mpirun", "-n", "2", "--bind-to", "none"}));
  EXPECT_TRUE(holds(arguments, {"/bin/rotulus-worker", "--coordinator", "127.0.0.1:4711"}));
  EXPECT_TRUE(holds(arguments, {"-m", "m.gguf", "--store", "/s", "--threads", "4"}));
  EXPECT_FALSE(holds(arguments, {"--allow-run-as-root"}));
  EXPECT_FALSE(holds(arguments, {"mpi_yield_when_idle"}));
  EXPECT_FALSE(holds(arguments, {"--step-tokens"}));
}

TEST(CommandLines, LeaveTheShareOfLandmarksToTheWorkerUnlessItIsGiven) {
  ServeOptions options = some_options();
  options.tier_ram_size = "64M";
  options.eviction = "lru";
  EXPECT_FALSE(holds(worker_group_arguments(options, run_paths("/s"), {}, 1), {"--landmark-ram-size"}));
  options.landmark_ram_size = "8M";
  const Arguments arguments = worker_group_arguments(options, run_paths("/s"), {}, 1);
  EXPECT_TRUE(holds(arguments, {"--tier-ram-size", "64M", "--eviction", "lru"}));
  EXPECT_TRUE(holds(arguments, {"--landmark-ram-size", "8M"}));
}

TEST(CommandLines, LetRanksYieldWhereThreadsExceedTheCores) {
  ServeOptions options = some_options();
  options.ranks = 3;
  Arguments arguments = worker_group_arguments(options, run_paths("/s"), {.cores = 2, .is_root = true}, 1);
  EXPECT_TRUE(holds(arguments, {"--threads", "1"}));
  EXPECT_TRUE(holds(arguments, {"--mca", "mpi_yield_when_idle", "1"}));
  EXPECT_TRUE(holds(arguments, {"--allow-run-as-root"}));
}

TEST(CommandLines, NameSharedMemoryAfterTheStore) {
  EXPECT_EQ(run_paths("/a").shared_memory, run_paths("/a").shared_memory);
  EXPECT_NE(run_paths("/a").shared_memory, run_paths("/b").shared_memory);
}

TEST(CommandLines, KnowWhatIsLoopback) {
  for (const char* host : {"127.0.0.1", "127.9.9.9", "::1", "localhost"}) EXPECT_TRUE(is_loopback(host)) << host;
  for (const char* host : {"0.0.0.0", "::", "10.0.0.1", "127.example.org", "", "localhost.example.org"})
    EXPECT_FALSE(is_loopback(host)) << host;
}

}  // namespace
}  // namespace rotulus::client
