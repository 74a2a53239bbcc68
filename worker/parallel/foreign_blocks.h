// Blocks of this rank's lanes on their way into its memory, also those that lie on a volume which another rank has
// open: asked for, read there, kept here.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "worker/parallel/group_setting.h"

namespace rotulus::worker {

// All ranks call it together, with the blocks they are about to pin (possibly none). Returns what went wrong with
// this rank's own blocks; failing to serve another rank is that rank's failure. What is there already and what is
// fetched is `held` together: a block that comes must not take the place of one that is wanted too.
std::optional<AttentionFailure> fetch_foreign_blocks(const GroupSetting& group,
                                                     std::span<const memory_store::BlockAddress> wanted,
                                                     std::vector<memory_store::PinnedBlocks>& held);

// Pins blocks of volumes that are held or that were fetched. Local. Returns what went wrong; then nothing is pinned.
std::optional<AttentionFailure> pin_blocks(const GroupSetting& group,
                                           std::span<const memory_store::BlockAddress> addresses,
                                           memory_store::PinnedBlocks& pinned);

}  // namespace rotulus::worker
