// Named places where a test can make the process die, fail or stall, so that recovery is shown and not believed.
//
// Set by the environment before start:  ROTULUS_FAILPOINTS="commit.before_manifest=kill;commit.blocks=kill@3"
// With ROTULUS_FAILPOINT_MARKS=FOLDER each fires once in all: it leaves a file of its name there, so that a process
// that is started again in the same environment lives.
//
//   kill: SIGKILL to itself; error: Error{internal}; sleep: 1 s.   @n: at the n-th passage only (default 1).
// Costs one load where nothing is set. Failpoints stand on cold paths only (commit, catalogue, opening).
#pragma once

#include <string_view>

namespace rotulus::protocol {

void failpoint(std::string_view name);

}  // namespace rotulus::protocol
