// The attend and merge verbs above the inner kernels: how work is cut into pieces, and the tree over lanes.
#pragma once

#include <span>
#include <vector>

#include "kernels/backend.h"
#include "kernels/cpu/bf16_kernels.h"
#include "kernels/cpu/buffer.h"
#include "kernels/cpu/code_kernels.h"
#include "kernels/cpu/kernel_table.h"

namespace rotulus::kernels::cpu {

// base^(-2j / dims) / divisors[j] for the pairs of a rope.
std::vector<double> inverse_frequencies(const Rope& rope);

// Those of the ropes that were asked for last. A model has one or two, and each frequency takes a power in extended
// precision: with a thousand tokens behind it, a quarter of what a step's attention takes.
class RopeFrequencies {
 public:
  std::span<const double> of(const Rope& rope);  // until the next call

 private:
  struct Entry {
    Rope rope;
    std::vector<double> frequencies;
  };
  std::vector<Entry> entries_;
};

// What a verb runs on; owned by the backend.
struct Machine {
  const KernelTable& table;
  const CodeKernels& codes;
  const Bf16Kernels* bf16;  // nullptr: prefill in float32
  ThreadPool& pool;
  std::vector<Scratch> scratch;  // one for each thread of the pool
  Scratch shared;                // for what the pieces of one call hand to each other
  RopeFrequencies frequencies;
};

// A piece is (row tile x KV head x sub-tree of lanes): one decode row over many lanes still occupies all threads. The
// sub-trees are nodes of the fixed tree, so the cut leaves no trace in the bits.
void attend(Machine& machine, const AttendTask& task);

void merge(Machine& machine, const MergeTask& task);

}  // namespace rotulus::kernels::cpu
