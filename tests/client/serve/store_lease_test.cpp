// Leases on real directories; the second holder is a second lease, which flock treats as another process.
#include "client/serve/store_lease.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "protocol/error.h"
#include "tests/client/temporary_directory.h"

namespace rotulus::client {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

TEST(StoreLease, MakesAPrivateStoreWithASecretThatChanges) {
  TemporaryDirectory directory;
  fs::path store = directory.path() / "deep" / "store";
  std::string first;
  {
    StoreLease lease(store);
    first = directory.read("deep/store/run/secret");
    EXPECT_EQ(fs::status(store).permissions(), fs::perms::owner_all);
    EXPECT_EQ(fs::status(lease.paths().secret_file).permissions(), fs::perms::owner_read | fs::perms::owner_write);
  }
  StoreLease lease(store);
  EXPECT_EQ(first.size(), 65u);
  EXPECT_NE(directory.read("deep/store/run/secret"), first);
}

TEST(StoreLease, LeavesThePermissionsOfAStoreThatIsThere) {
  TemporaryDirectory directory;
  ::chmod(directory.path().c_str(), 0755);
  StoreLease lease(directory.path());
  EXPECT_EQ(fs::status(directory.path()).permissions(), static_cast<fs::perms>(0755));
}

TEST(StoreLease, NamesTheHolderOfAStoreInUse) {
  TemporaryDirectory directory;
  StoreLease first(directory.path());
  try {
    StoreLease second(directory.path(), 0ms);
    FAIL() << "two leases on one store";
  } catch (const protocol::Error& failure) {
    EXPECT_EQ(failure.code(), protocol::ErrorCode::conflict);
    EXPECT_NE(failure.message().find("process id " + std::to_string(::getpid())), std::string::npos)
        << failure.message();
  }
}

TEST(StoreLease, RemovesEmptySharedMemoryThatKilledServesOfOtherStoresLeft) {
  TemporaryDirectory directory;
  const fs::path forgotten = run_paths(directory.path() / "forgotten").shared_memory;
  const fs::path starting = run_paths(directory.path() / "starting").shared_memory;
  const fs::path in_use = run_paths(directory.path() / "in_use").shared_memory;
  for (const fs::path& path : {forgotten, starting, in_use}) fs::create_directory(path);
  fs::create_directory(in_use / "segment");
  for (const fs::path& path : {forgotten, in_use})
    fs::last_write_time(path, fs::file_time_type::clock::now() - std::chrono::hours(1));
  { StoreLease lease(directory.path() / "mine"); }
  EXPECT_FALSE(fs::exists(forgotten));
  EXPECT_TRUE(fs::exists(starting));
  EXPECT_TRUE(fs::exists(in_use));
  fs::remove_all(starting);
  fs::remove_all(in_use);
}

TEST(StoreLease, RemovesWhatAKilledGroupLeftAndLeavesNothingItself) {
  TemporaryDirectory directory;
  RunPaths paths = run_paths(directory.path());
  {
    StoreLease lease(directory.path());
    for (const fs::path& path : {paths.shared_memory, paths.mpi_directory}) {
      fs::create_directories(path / "left");
      lease.clear_session_files();
      EXPECT_TRUE(fs::is_directory(path));
      EXPECT_TRUE(fs::is_empty(path));
    }
  }
  EXPECT_FALSE(fs::exists(paths.shared_memory));
  EXPECT_FALSE(fs::exists(paths.mpi_directory));
  EXPECT_FALSE(fs::exists(paths.secret_file));
}

}  // namespace
}  // namespace rotulus::client
