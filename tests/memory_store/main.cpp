// The tests, and the children that some of them start: `--child SCENARIO DIRECTORY`.
#include <gtest/gtest.h>

#include <cstdio>
#include <string_view>

#include "protocol/error.h"
#include "tests/memory_store/support.h"

// RocksDB is packaged without ThreadSanitizer: what its threads hand to each other through atomics cannot be seen. Its
// locks can, so that races of ours show, also in what it calls back.
extern "C" const char* __tsan_default_suppressions() {
  return "race:librocksdb.so\n";
}

int main(int count, char** arguments) {
  if (count == 4 && std::string_view(arguments[1]) == "--child") {
    try {
      return rotulus::memory_store::run_scenario(arguments[2], arguments[3]);
    } catch (const rotulus::protocol::Error& error) {
      std::fprintf(stderr, "child: %s\n", error.what());
      return rotulus::memory_store::kExitOfError + static_cast<int>(error.code());
    }
  }
  testing::InitGoogleTest(&count, arguments);
  return RUN_ALL_TESTS();
}
