// What this rank will probably attend after the piece at hand, so that the store reads it while this one is computed.
//
// Under exact attention, and in layers that slide, it is known: the next piece of the layer, or the first of what comes
// then. Under retrieval it is a guess: the pages that were chosen last in the layer that comes. Most tokens use them
// again (Retrieval::selection_interval).
#pragma once

#include <vector>

#include "worker/parallel/row_group.h"

namespace rotulus::worker {

std::vector<memory_store::BlockAddress> blocks_attended_next(const GroupSetting& group,
                                                             const StepAttention::RowGroup& rows, const Layout& layout,
                                                             std::uint32_t layer, std::size_t round);

}  // namespace rotulus::worker
