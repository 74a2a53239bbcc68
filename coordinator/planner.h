// What fits, and what comes next. Pure functions of numbers: nothing is computed before they agree.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <variant>

#include "protocol/messages.h"

namespace rotulus::coordinator {

// What the running worker group can take.
struct Capacity {
  std::uint64_t window = 0;              // positions of the model
  std::uint64_t kv_bytes_per_token = 0;  // all layers
  std::uint64_t bytes_free = 0;          // on the disks of its volumes
};

// The most tokens that a document may have: an answer needs one position behind it.
std::uint64_t longest_document(const Capacity& capacity);

// {context_length_exceeded} with the numbers. `is_counted`: `tokens` is the whole document, not only what was counted
// before it was certain.
std::optional<protocol::Error> check_window(std::uint64_t tokens, bool is_counted, const Capacity& capacity);

// {storage_full} with the numbers if the chunks that are not committed yet will not fit the disks.
std::optional<protocol::Error> check_disk(std::span<const protocol::ObjectRecord> chunks, std::uint64_t tokens,
                                          const Capacity& capacity);

// Chunks are computed in document order: each attends over all before it.
std::optional<std::uint32_t> next_chunk(std::span<const protocol::ObjectRecord> chunks);
std::uint64_t committed_tokens(std::span<const protocol::ObjectRecord> chunks, std::uint64_t tokens);

struct AnswerSize {
  std::uint64_t context_tokens = 0;
  std::uint64_t question_tokens = 0;
  std::optional<std::uint32_t> max_tokens;  // absent: what is left of the window
  std::uint64_t window = 0;
};
// The answer's max_tokens, or {context_length_exceeded} with the numbers. Nothing is truncated.
std::variant<std::uint32_t, protocol::Error> plan_answer(const AnswerSize& size);

}  // namespace rotulus::coordinator
