// START HERE. One coordinator and one worker group, started, watched, restarted, and ended together.
//
//   start    coordinator -> it writes its control port -> worker group -> /readyz answers 200
//   death    of the group: a new group. Of the coordinator: a new coordinator, then a new group for it
//   ending   SIGTERM, SIGINT, SIGHUP: the coordinator drains and dismisses its workers; 40 s, then all are ended.
//            A second signal ends all at once.
//
// Invariants: (1) no two groups of one store live at the same time: every process of the last one has been waited for
// before the next is started. (2) Nothing that was started survives this object; killed with it are also processes
// that lost their own parent (it is a subreaper), and if it is killed itself, the kernel ends its children.
//
// Threads: one; signals are blocked and read from a descriptor while it runs. Errors: Error{unavailable} for what the
// system does not give.
#pragma once

#include "client/options.h"
#include "client/serve/command_lines.h"
#include "client/serve/store_lease.h"

namespace rotulus::client {

// Runs until it is told to end or a child cannot be brought up; the program's exit code.
int supervise(const ServeOptions& options, const std::string& api_key, const Machine& machine, const StoreLease& store);

}  // namespace rotulus::client
