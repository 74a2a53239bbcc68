// What tests of a running coordinator begin with: a directory and a disk that outlive it, and groups of workers.
#pragma once

#include <gtest/gtest.h>

#include "tests/coordinator/running_coordinator.h"

namespace rotulus::coordinator::testing {

class CoordinatorTest : public ::testing::Test {
 protected:
  // Another group each time, all on the same disk.
  std::unique_ptr<FakeWorkerGroup> start_group(const RunningCoordinator& coordinator, FakeGroupOrders orders = {},
                                               FakeGroupOptions options = {}) {
    options.port = coordinator.port();
    options.group = ++last_group_;
    return std::make_unique<FakeWorkerGroup>(disk_, options, orders);
  }

  TemporaryDirectory directory_;
  FakeDisk disk_;
  std::uint64_t last_group_ = 0;
};

}  // namespace rotulus::coordinator::testing
