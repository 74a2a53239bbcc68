// Children of this process that nobody asked for: ranks whose mpirun has died are given to the nearest subreaper.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <vector>

namespace rotulus::client {

// Kills every child except these and waits for their ends, and for those of their own children, which come here in
// turn; false if some still live at the deadline.
bool kill_children_except(const std::vector<pid_t>& kept, std::chrono::milliseconds deadline);

}  // namespace rotulus::client
