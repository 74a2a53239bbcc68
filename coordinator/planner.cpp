#include "coordinator/planner.h"

#include <algorithm>

#include "protocol/token_range.h"

namespace rotulus::coordinator {
namespace {

using protocol::Error;
using protocol::ErrorCode;

// Keys, headers, manifests and RocksDB's own files come on top of the KV: a 32nd, and some fixed space for the WAL.
constexpr std::uint64_t kOverheadShare = 32;
constexpr std::uint64_t kFixedOverheadBytes = 16u << 20;

}  // namespace

std::uint64_t longest_document(const Capacity& capacity) {
  return std::max<std::uint64_t>(capacity.window, 1) - 1;
}

std::optional<Error> check_window(std::uint64_t tokens, bool is_counted, const Capacity& capacity) {
  if (tokens <= longest_document(capacity)) return std::nullopt;
  return Error(ErrorCode::context_length_exceeded,
               fmt::format("the document has {}{} tokens; the model's window is {} tokens, and at least 1 of them is "
                           "needed for an answer: shorten the document to {} tokens, or serve a model with a longer "
                           "window",
                           is_counted ? "" : "more than ", is_counted ? tokens : longest_document(capacity),
                           capacity.window, longest_document(capacity)));
}

std::optional<Error> check_disk(std::span<const protocol::ObjectRecord> chunks, std::uint64_t tokens,
                                const Capacity& capacity) {
  const std::uint64_t kv_bytes = (tokens - committed_tokens(chunks, tokens)) * capacity.kv_bytes_per_token;
  const std::uint64_t needed = kv_bytes + kv_bytes / kOverheadShare + kFixedOverheadBytes;
  if (kv_bytes == 0 || needed <= capacity.bytes_free) return std::nullopt;
  return Error(
      ErrorCode::storage_full,
      fmt::format("the context needs about {} bytes on disk ({} tokens of {} bytes, and overhead); the volumes "
                  "have {} bytes free: delete contexts, or give a larger --store",
                  needed, tokens, capacity.kv_bytes_per_token, capacity.bytes_free));
}

std::optional<std::uint32_t> next_chunk(std::span<const protocol::ObjectRecord> chunks) {
  for (std::uint32_t index = 0; index < chunks.size(); ++index) {
    if (!chunks[index].object) return index;
  }
  return std::nullopt;
}

std::uint64_t committed_tokens(std::span<const protocol::ObjectRecord> chunks, std::uint64_t tokens) {
  std::uint64_t committed = 0;
  for (std::size_t index = 0; index < chunks.size(); ++index) {
    if (chunks[index].object) committed += protocol::chunk_range(index, tokens).count();
  }
  return committed;
}

std::variant<std::uint32_t, Error> plan_answer(const AnswerSize& size) {
  const std::uint64_t prompt = size.context_tokens + size.question_tokens;
  if (prompt + 1 > size.window) {
    return Error(
        ErrorCode::context_length_exceeded,
        fmt::format("the prompt has {} tokens ({} of the context, {} of the question); the model's window is {} "
                    "tokens, and at least 1 of them is needed for the answer",
                    prompt, size.context_tokens, size.question_tokens, size.window));
  }
  const std::uint64_t left = size.window - prompt;
  if (size.max_tokens && *size.max_tokens > left) {
    return Error(ErrorCode::context_length_exceeded,
                 fmt::format("the prompt has {} tokens ({} of the context, {} of the question) and max_tokens is {}: "
                             "together {}, more than the model's window of {}; at most {} are left for the answer",
                             prompt, size.context_tokens, size.question_tokens, *size.max_tokens,
                             prompt + *size.max_tokens, size.window, left),
                 "max_tokens");
  }
  return size.max_tokens.value_or(static_cast<std::uint32_t>(std::min<std::uint64_t>(left, UINT32_MAX)));
}

}  // namespace rotulus::coordinator
