#include "coordinator/planner.h"

#include <fmt/ranges.h>

#include <algorithm>

#include "protocol/methods.h"
#include "protocol/token_range.h"

namespace rotulus::coordinator {
namespace {

using protocol::AttentionMode;
using protocol::Error;
using protocol::ErrorCode;
using protocol::RetrievalParameters;

// Keys, headers, manifests and RocksDB's own files come on top of the KV: a 32nd, and some fixed space for the WAL.
constexpr std::uint64_t kOverheadShare = 32;
constexpr std::uint64_t kFixedOverheadBytes = 16u << 20;
// Sketches and page means take a tenth of what f16 keys and values take, bounds a sixteenth, centroids a twenty-eighth.
constexpr std::uint64_t kSketchShare = 10;
constexpr std::uint64_t kBoundsShare = 16;
constexpr std::uint64_t kCentroidsShare = 28;
constexpr std::uint64_t kMaxContextLocalTokens = 2048;

std::uint32_t as_max_tokens(std::uint64_t tokens) {
  return static_cast<std::uint32_t>(std::min<std::uint64_t>(tokens, UINT32_MAX));
}

// The way out of a prompt that is too long for exact attention.
std::string_view other_attention(const AnswerSize& size) {
  return size.landmarks != 0 ? "; ask with the attention mode \"auto\" or \"retrieval\""
                             : "; a context created with the attention mode \"retrieval\" can be asked all the same";
}

Error other_landmark(const AnswerSize& size) {
  const auto wanted = protocol::kLandmarkWords[static_cast<std::size_t>(size.attention.landmark)];
  std::vector<std::string_view> ways_out;
  for (std::size_t i = 0; i < std::size(protocol::kLandmarkWords); ++i) {
    const auto landmark = static_cast<protocol::PageLandmark>(i);
    if (protocol::landmark_of(landmark, size.landmarks)) ways_out.push_back(protocol::kLandmarkWords[i]);
  }
  return Error(
      ErrorCode::invalid_argument,
      fmt::format("landmark is \"{}\", which the context does not keep: ask with \"{}\", or create the context "
                  "again with \"landmarks\": [\"sketch\", \"mean\"]",
                  wanted, fmt::join(ways_out, "\" or \"")),
      "landmark");
}

std::variant<AnswerPlan, Error> plan_exact(const AnswerSize& size) {
  const std::uint64_t prompt = size.context_tokens + size.question_tokens;
  if (prompt + 1 > size.window) {
    return Error(
        ErrorCode::context_length_exceeded,
        fmt::format("the prompt has {} tokens ({} of the context, {} of the question); the model's window is {} "
                    "tokens, and at least 1 of them is needed for the answer{}",
                    prompt, size.context_tokens, size.question_tokens, size.window, other_attention(size)));
  }
  const std::uint64_t left = size.window - prompt;
  if (size.max_tokens && *size.max_tokens > left) {
    return Error(ErrorCode::context_length_exceeded,
                 fmt::format("the prompt has {} tokens ({} of the context, {} of the question) and max_tokens is {}: "
                             "together {}, more than the model's window of {}; at most {} are left for the answer{}",
                             prompt, size.context_tokens, size.question_tokens, *size.max_tokens,
                             prompt + *size.max_tokens, size.window, left, other_attention(size)),
                 "max_tokens");
  }
  return AnswerPlan{size.max_tokens.value_or(as_max_tokens(left)), AttentionMode::exact};
}

std::variant<AnswerPlan, Error> plan_by_retrieval(const AnswerSize& size) {
  const std::uint64_t local = size.attention.local_tokens;
  if (size.landmarks == 0) {
    return Error(ErrorCode::conflict,
                 "the context keeps no landmarks, which retrieval needs: create it again with the attention mode "
                 "\"retrieval\", or ask it with \"exact\"",
                 "attention");
  }
  if (!protocol::landmark_of(size.attention.landmark, size.landmarks)) return other_landmark(size);
  if (local > size.window / 2) {
    return Error(
        ErrorCode::invalid_argument,
        fmt::format("local_tokens is {}; half of the model's window, {} tokens, is the most", local, size.window / 2),
        "local_tokens");
  }
  const auto& layers = size.attention.select_layers;  // ascending
  if (!layers.empty() && layers.back() >= size.layers) {
    return Error(ErrorCode::invalid_argument,
                 fmt::format("select_layers has {}; the model's layers are 0 to {}", layers.back(), size.layers - 1),
                 "select_layers");
  }
  const std::uint64_t taken = size.question_tokens + local + kRetrievalMargin;
  if (taken + 1 > size.window) {
    return Error(ErrorCode::context_length_exceeded,
                 fmt::format("the question has {} tokens; with a local window of {}, {} for what is retrieved and 1 "
                             "for the answer it must fit the model's window of {} tokens: shorten it to {}",
                             size.question_tokens, local, kRetrievalMargin, size.window,
                             size.window - std::min(size.window, local + kRetrievalMargin + 1)));
  }
  const std::uint64_t left = size.window - taken;
  if (size.max_tokens && *size.max_tokens > left) {
    return Error(ErrorCode::context_length_exceeded,
                 fmt::format("max_tokens is {}; with the question of {} tokens, a local window of {} and {} for what "
                             "is retrieved that is {}, more than the model's window of {}; at most {} are left for the "
                             "answer",
                             *size.max_tokens, size.question_tokens, local, kRetrievalMargin, taken + *size.max_tokens,
                             size.window, left),
                 "max_tokens");
  }
  return AnswerPlan{size.max_tokens.value_or(as_max_tokens(left)), AttentionMode::retrieval};
}

}  // namespace

std::uint64_t longest_exact_document(std::uint64_t window) {
  return std::max<std::uint64_t>(window, 1) - 1;
}

RetrievalParameters plan_retrieval(const KeptForRetrieval& asked, std::uint64_t tokens, std::uint64_t window) {
  const bool fits = tokens <= longest_exact_document(window);
  if (asked.mode == AttentionMode::exact || (asked.mode == AttentionMode::automatic && fits)) return {};
  const std::uint64_t local = std::min(window / 4, kMaxContextLocalTokens) / protocol::kBlockTokens;
  return {.landmark_version = protocol::kLandmarkVersion,
          .exact_tokens = static_cast<std::uint32_t>(window),
          .local_tokens = static_cast<std::uint32_t>(std::max<std::uint64_t>(local, 1) * protocol::kBlockTokens),
          .landmarks = asked.landmarks};
}

StoredBytes stored_bytes(std::uint64_t tokens, const protocol::KvCost& kv, const RetrievalParameters& retrieval) {
  const protocol::KvBytes bytes = protocol::kv_bytes(tokens, kv);
  std::uint64_t landmarks = 0;
  if (retrieval.landmark_version != 0) {
    if ((retrieval.landmarks & protocol::kKeepsSketches) != 0) landmarks += bytes.full / kSketchShare;
    if ((retrieval.landmarks & protocol::kKeepsBounds) != 0) landmarks += bytes.full / kBoundsShare;
    if ((retrieval.landmarks & protocol::kKeepsCentroids) != 0) landmarks += bytes.full / kCentroidsShare;
  }
  return {.total = bytes.kept() + landmarks, .landmarks = landmarks, .saved = bytes.saved};
}

std::optional<Error> check_window(std::uint64_t tokens, bool is_counted, std::uint64_t window) {
  const std::uint64_t longest = longest_exact_document(window);
  if (tokens <= longest) return std::nullopt;
  return Error(ErrorCode::context_length_exceeded,
               fmt::format("the document has {}{} tokens; the model's window is {} tokens, and at least 1 of them is "
                           "needed for an answer: shorten the document to {} tokens, create it with the attention mode "
                           "\"auto\", or serve a model with a longer window",
                           is_counted ? "" : "more than ", is_counted ? tokens : longest, window, longest));
}

std::optional<Error> check_disk(std::span<const protocol::ObjectRecord> chunks, std::uint64_t tokens,
                                const RetrievalParameters& retrieval, const Capacity& capacity) {
  const std::uint64_t missing = tokens - committed_tokens(chunks, tokens);
  const std::uint64_t bytes = stored_bytes(missing, capacity.kv, retrieval).total;
  const std::uint64_t needed = bytes + bytes / kOverheadShare + kFixedOverheadBytes;
  if (bytes == 0 || needed <= capacity.bytes_free) return std::nullopt;
  const std::uint64_t token_bytes = protocol::ceil_div(bytes, missing);
  const std::uint64_t usable = capacity.bytes_free - std::min(capacity.bytes_free, kFixedOverheadBytes);
  return Error(
      ErrorCode::storage_full,
      fmt::format("the context needs about {} bytes on disk for the {} tokens that are counted and not stored yet ({} "
                  "bytes each, and overhead); the volumes have {} bytes free, which is room for about {}: delete "
                  "contexts, give a larger --store, or shorten the document",
                  needed, missing, token_bytes, capacity.bytes_free,
                  (usable - usable / (kOverheadShare + 1)) / token_bytes));
}

std::optional<Error> check_document(const KeptForRetrieval& asked, std::uint64_t tokens, bool is_counted,
                                    const Capacity& capacity) {
  if (asked.mode == AttentionMode::exact) {
    if (const auto too_long = check_window(tokens, is_counted, capacity.window)) return too_long;
  }
  return check_disk({}, tokens, plan_retrieval(asked, tokens, capacity.window), capacity);
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

std::variant<AnswerPlan, Error> plan_answer(const AnswerSize& size) {
  if (size.attention.mode == AttentionMode::retrieval) return plan_by_retrieval(size);
  const auto exact = plan_exact(size);
  const bool is_planned = std::holds_alternative<AnswerPlan>(exact);
  if (is_planned || size.attention.mode == AttentionMode::exact || size.landmarks == 0) return exact;
  return plan_by_retrieval(size);
}

std::variant<PromptPlan, Error> plan_prompt(const PromptSize& size) {
  const auto plan = [&](AttentionMode mode, std::uint64_t question) -> std::variant<PromptPlan, Error> {
    AnswerSize answer{.context_tokens = size.tokens - question, .question_tokens = question};
    answer.max_tokens = size.max_tokens;
    answer.window = size.window;
    answer.layers = size.layers;
    answer.landmarks = protocol::kDefaultLandmarks;  // ours to give
    answer.attention = size.attention;
    answer.attention.mode = mode;
    const auto planned = plan_answer(answer);
    if (const auto* error = std::get_if<Error>(&planned)) return *error;
    return PromptPlan{answer.context_tokens, std::get<AnswerPlan>(planned)};
  };
  const AttentionMode asked = size.attention.mode;
  const auto exact = plan(AttentionMode::exact, std::min<std::uint64_t>(size.tokens, 1));
  const bool fits = asked == AttentionMode::automatic && std::holds_alternative<PromptPlan>(exact);
  if (fits || asked == AttentionMode::exact || size.tokens <= 1) return exact;
  const auto retrieval = plan(AttentionMode::retrieval, std::min(size.tokens / 2, kPromptQuestionTokens));
  // Where neither fits, a prompt within the window is told what exact attention leaves to its answer.
  const bool is_planned = std::holds_alternative<PromptPlan>(retrieval);
  return is_planned || asked == AttentionMode::retrieval || size.tokens >= size.window ? retrieval : exact;
}

}  // namespace rotulus::coordinator
