#include "coordinator/reread.h"

#include <algorithm>
#include <set>

#include "protocol/token_range.h"

namespace rotulus::coordinator {
namespace {

using protocol::Error;
using protocol::ErrorCode;
using protocol::Evidence;
using protocol::kPageTokens;
using protocol::TokenRange;

// Pages of a document, whole ones but the last.
class Excerpts {
 public:
  explicit Excerpts(std::uint64_t document_tokens) : document_tokens_(document_tokens) {}

  std::uint64_t page_count() const { return protocol::ceil_div(document_tokens_, kPageTokens); }
  std::uint64_t tokens() const { return tokens_; }
  void add(std::uint64_t page) {
    if (pages_.insert(page).second) tokens_ += range(page).count();
  }
  bool contains(std::uint64_t page) const { return pages_.contains(page); }
  std::vector<TokenRange> ranges() const {
    std::vector<TokenRange> ranges;
    for (const std::uint64_t page : pages_) {
      if (ranges.empty() || ranges.back().end != range(page).begin) ranges.push_back({range(page).begin, 0});
      ranges.back().end = range(page).end;
    }
    return ranges;
  }

 private:
  TokenRange range(std::uint64_t page) const {
    return {page * kPageTokens, std::min((page + 1) * kPageTokens, document_tokens_)};
  }

  std::uint64_t document_tokens_;
  std::set<std::uint64_t> pages_;
  std::uint64_t tokens_ = 0;
};

// Of the best page's mass: what has less is not what the question is about, and is told instead of it where it has the
// same form (docs/retrieval.md).
constexpr float kLeastShare = 0.75f;

void add_evidence(Excerpts& excerpts, std::span<const Evidence> evidence, std::uint64_t most_tokens) {
  for (const Evidence& run : evidence) {
    if (run.mass < kLeastShare * evidence.front().mass) return;
    const std::uint64_t first = run.range.begin / kPageTokens;
    const std::uint64_t end = std::min(protocol::ceil_div(run.range.end, kPageTokens) + 1, excerpts.page_count());
    for (std::uint64_t page = first - std::min<std::uint64_t>(first, 1); page < end; ++page) {
      if (!excerpts.contains(page) && excerpts.tokens() + kPageTokens > most_tokens) return;
      excerpts.add(page);
    }
  }
}

}  // namespace

std::variant<RereadPlan, Error> plan_reread(const AnswerSize& size, std::uint64_t opening_tokens,
                                            std::span<const Evidence> evidence) {
  Excerpts excerpts(size.context_tokens);
  const std::uint64_t opening_end = std::max<std::uint64_t>(opening_tokens, protocol::kBlockTokens);
  const std::uint64_t window_begin =
      size.context_tokens - std::min<std::uint64_t>(size.context_tokens, size.attention.local_tokens);
  for (std::uint64_t page = 0; page < excerpts.page_count(); ++page) {
    if (page * kPageTokens < opening_end || (page + 1) * kPageTokens > window_begin) excerpts.add(page);
  }
  const std::uint64_t taken = size.question_tokens + size.max_tokens.value_or(1);
  if (excerpts.tokens() + taken > size.window) {
    return Error(ErrorCode::context_length_exceeded,
                 fmt::format("what is always read again, {} tokens of the document's frame, its beginning and its end, "
                             "the question of {} and {} for the answer are more than the model's window of {} tokens: "
                             "ask for less, or without re-reading",
                             excerpts.tokens(), size.question_tokens, size.max_tokens.value_or(1), size.window));
  }
  add_evidence(excerpts, evidence, std::min(excerpts.tokens() + size.attention.reread_tokens, size.window - taken));

  AnswerSize again = size;
  again.context_tokens = excerpts.tokens();
  again.landmarks = 0;
  again.attention.mode = protocol::AttentionMode::exact;
  const auto planned = plan_answer(again);
  if (const auto* error = std::get_if<Error>(&planned)) return *error;
  return RereadPlan{excerpts.ranges(), excerpts.tokens(), std::get<AnswerPlan>(planned)};
}

}  // namespace rotulus::coordinator
