#include "worker/parallel/tail.h"

namespace rotulus::worker {

Tail::Tail(kernels::Backend& backend, const kernels::KvFormat& format, std::uint32_t layers,
           std::int64_t first_position)
    : backend_(backend), format_(format), first_position_(first_position), blocks_(layers) {}

std::byte* Tail::block(std::uint32_t layer, std::uint64_t index) {
  auto& blocks = blocks_[layer];
  while (blocks.size() <= index) {
    blocks.push_back(backend_.allocate(format_.block_bytes(), kernels::MemoryKind::host));
  }
  return blocks[index]->data();
}

}  // namespace rotulus::worker
