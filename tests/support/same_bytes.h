// One run of the promise "the bits do not depend on how": a prompt is split into a context and a question, asked by a
// batch of requests, and all logits of all steps are hashed.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "kernels/backend.h"
#include "protocol/messages.h"
#include "worker/parallel/step_attention.h"

namespace rotulus::testing {

struct SameBytesRun {
  std::size_t prompt_tokens = 128;
  std::size_t question_tokens = 5;  // of the prompt, the last ones
  std::uint32_t ranks = 1;
  std::size_t threads = 1;
  std::size_t batch = 1;          // requests at once; the first is the one that is hashed
  bool small_budget = false;      // host memory for a quarter of the context's KV (a floor for the smallest)
  std::uint32_t step_tokens = 0;  // 0: by the measured rate
  bool restart = false;           // ingest in one life of the group, answer in the next
  worker::Strategy strategy = worker::Strategy::automatic;
  kernels::KvType kv_type = kernels::KvType::f16;
  kernels::Arithmetic arithmetic = kernels::Arithmetic::f32;
  kernels::Isa isa = kernels::Isa::automatic;
  std::uint32_t restart_ranks = 0;  // with restart: ranks of the second life; 0: the same
  std::size_t generated_tokens = 64;
  protocol::RetrievalParameters retrieval;  // of the context
  protocol::AttentionSpec attention;        // of the requests
  std::uint32_t window = 0;                 // 0: the model's

  std::string name() const;
};

struct SameBytesResult {
  std::uint64_t logits_hash = 0;  // over the logits of every step of the first request, in order
  std::vector<protocol::TokenId> tokens;
  std::uint64_t tokens_recomputed = 0;
  std::uint64_t blocks_loaded = 0;    // from disk
  std::uint64_t prefetched_used = 0;  // of these, before they were asked for
  protocol::AttentionReport attention;
};

// A deterministic prompt of `count` tokens: text of this repository's own making, ids spread over the vocabulary.
std::vector<protocol::TokenId> make_prompt(std::size_t count, std::uint32_t vocabulary);

SameBytesResult run_same_bytes(const SameBytesRun& run, const std::filesystem::path& model,
                               const std::filesystem::path& store_parent);

}  // namespace rotulus::testing
