// What fits, how it attends, and what comes next. Pure functions of numbers: nothing is computed before they agree.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <variant>

#include "protocol/messages.h"

namespace rotulus::coordinator {

// What the running worker group can take.
struct Capacity {
  std::uint64_t window = 0;  // positions of the model
  protocol::KvCost kv;
  std::uint64_t bytes_free = 0;  // on the disks of its volumes
};

// The most tokens that a document may have under exact attention: an answer needs one position behind it.
std::uint64_t longest_exact_document(std::uint64_t window);

// What a context of `tokens` tokens keeps: landmarks where retrieval is asked for by name, or where it is left to us
// (automatic) and the document with one token of an answer is longer than the window; of the kinds asked for.
struct KeptForRetrieval {
  protocol::AttentionMode mode = protocol::AttentionMode::automatic;
  protocol::LandmarkKinds landmarks = protocol::kDefaultLandmarks;
};
protocol::RetrievalParameters plan_retrieval(const KeptForRetrieval& asked, std::uint64_t tokens, std::uint64_t window);

// On disk, of a context that keeps what `retrieval` says: landmarks of the layers that see all of it.
struct StoredBytes {
  std::uint64_t total = 0;
  std::uint64_t landmarks = 0;  // of these
  std::uint64_t saved = 0;      // what it would take more if sliding layers kept every token
};
StoredBytes stored_bytes(std::uint64_t tokens, const protocol::KvCost& kv,
                         const protocol::RetrievalParameters& retrieval);

// {context_length_exceeded} with the numbers, for exact attention. `is_counted`: `tokens` is the whole document, not
// only what was counted before it was certain.
std::optional<protocol::Error> check_window(std::uint64_t tokens, bool is_counted, std::uint64_t window);

// {storage_full} with the numbers if what is not on disk yet will not fit the disks. `chunks` may be empty: none is.
std::optional<protocol::Error> check_disk(std::span<const protocol::ObjectRecord> chunks, std::uint64_t tokens,
                                          const protocol::RetrievalParameters& retrieval, const Capacity& capacity);

// Both, for a document of which `tokens` are counted so far.
std::optional<protocol::Error> check_document(const KeptForRetrieval& asked, std::uint64_t tokens, bool is_counted,
                                              const Capacity& capacity);

// Chunks are computed in document order: each attends over all before it.
std::optional<std::uint32_t> next_chunk(std::span<const protocol::ObjectRecord> chunks);
std::uint64_t committed_tokens(std::span<const protocol::ObjectRecord> chunks, std::uint64_t tokens);

struct AnswerSize {
  std::uint64_t context_tokens = 0;
  std::uint64_t question_tokens = 0;
  std::optional<std::uint32_t> max_tokens;  // absent: what is left
  std::uint64_t window = 0;                 // of the model
  std::uint32_t layers = 0;                 // of the model
  protocol::LandmarkKinds landmarks = 0;    // of the context; 0: it keeps none
  protocol::AttentionSpec attention;
};
struct AnswerPlan {
  std::uint32_t max_tokens = 0;
  protocol::AttentionMode mode = protocol::AttentionMode::exact;  // never automatic
  bool operator==(const AnswerPlan&) const = default;
};
// Exact where context, question and answer fit the window together, else retrieval where the context has landmarks:
// then question, answer, local window and kRetrievalMargin must fit it, so that no distance beyond it is ever shown.
// {context_length_exceeded} with the numbers, {conflict} where landmarks are missing, {invalid_argument} for a landmark
// that is not kept, a local window of more than half the model's and layers that it does not have. Nothing is
// truncated.
std::variant<AnswerPlan, protocol::Error> plan_answer(const AnswerSize& size);

// The first block, and the block behind which all that is retrieved is shown.
inline constexpr std::uint64_t kRetrievalMargin = 2 * protocol::kBlockTokens;

// A prompt without a context becomes a context and a question behind it. Exact attention needs one token of a question;
// under retrieval the question's rows choose what is read, so it is the prompt's end: as much of it as a question to a
// long text usually has.
inline constexpr std::uint64_t kPromptQuestionTokens = 256;
struct PromptSize {
  std::uint64_t tokens = 0;
  std::optional<std::uint32_t> max_tokens;
  std::uint64_t window = 0;
  std::uint32_t layers = 0;
  protocol::AttentionSpec attention;
};
struct PromptPlan {
  std::uint64_t context_tokens = 0;  // 0: all of it is the question
  AnswerPlan answer;
};
std::variant<PromptPlan, protocol::Error> plan_prompt(const PromptSize& size);

}  // namespace rotulus::coordinator
