#include "worker/model/tokenizer/pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <array>
#include <limits>
#include <string>
#include <utility>

#include "protocol/error.h"

namespace rotulus::worker::tokenizer {
namespace {

constexpr std::string_view kWhiteSpace =
    R"(\x09-\x0D\x20\x{85}\x{A0}\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F}\x{3000})";

// The JIT code keeps its backtracking here and not on the thread's stack, which may be small.
constexpr std::size_t kStackBytes = 32u << 10;
constexpr std::size_t kMaxStackBytes = 8u << 20;

std::string spell_out_white_space(std::string_view expression) {
  std::string spelled;
  bool in_class = false;
  for (std::size_t i = 0; i < expression.size(); ++i) {
    const char c = expression[i];
    if (c == '\\') {
      const char escaped = expression[++i];
      if (escaped == 's') {
        spelled += in_class ? std::string(kWhiteSpace) : fmt::format("[{}]", kWhiteSpace);
      } else if (escaped == 'S') {
        CHECK(!in_class, expression);
        spelled += fmt::format("[^{}]", kWhiteSpace);
      } else {
        spelled += {c, escaped};
      }
      continue;
    }
    if (c == '[') in_class = true;
    if (c == ']') in_class = false;
    spelled += c;
  }
  return spelled;
}

std::string pcre2_message(int code) {
  std::array<PCRE2_UCHAR, 256> text{};
  pcre2_get_error_message(code, text.data(), text.size());
  return reinterpret_cast<const char*>(text.data());
}

}  // namespace

MatchScratch::MatchScratch()
    : data_(pcre2_match_data_create(1, nullptr)),
      context_(pcre2_match_context_create(nullptr)),
      stack_(pcre2_jit_stack_create(kStackBytes, kMaxStackBytes, nullptr)) {
  CHECK(data_ != nullptr && context_ != nullptr);
  // Our patterns cost a bounded number of steps a character, so that the length of a run is the only thing to limit.
  pcre2_set_match_limit(context_, std::numeric_limits<std::uint32_t>::max());
  pcre2_jit_stack_assign(context_, nullptr, stack_);
}

MatchScratch::~MatchScratch() {
  pcre2_jit_stack_free(stack_);
  pcre2_match_context_free(context_);
  pcre2_match_data_free(data_);
}

Pattern::Pattern(std::string_view expression) {
  const std::string spelled = spell_out_white_space(expression);
  int error = 0;
  PCRE2_SIZE offset = 0;
  code_ = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(spelled.data()), spelled.size(), PCRE2_UTF | PCRE2_UCP, &error,
                        &offset, nullptr);
  CHECK(code_ != nullptr, expression, offset, pcre2_message(error));
  // Without JIT (a machine that forbids writing code) matching is slower and otherwise the same.
  pcre2_jit_compile(code_, PCRE2_JIT_COMPLETE | PCRE2_JIT_PARTIAL_HARD);
}

Pattern::Pattern(Pattern&& other) noexcept : code_(std::exchange(other.code_, nullptr)) {}

Pattern::~Pattern() {
  pcre2_code_free(code_);
}

PatternMatch Pattern::find(std::string_view text, bool more_follows, MatchScratch& scratch) const {
  const std::uint32_t options = PCRE2_NO_UTF_CHECK | (more_follows ? PCRE2_PARTIAL_HARD : 0u);
  const int result = pcre2_match(code_, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), 0, options,
                                 scratch.data_, scratch.context_);
  if (result == PCRE2_ERROR_NOMATCH) return {};
  if (result < 0 && result != PCRE2_ERROR_PARTIAL)
    throw protocol::Error(protocol::ErrorCode::internal,
                          fmt::format("cutting {} bytes into pre-tokens: {}", text.size(), pcre2_message(result)));
  const PCRE2_SIZE* bounds = pcre2_get_ovector_pointer(scratch.data_);
  const auto kind = result == PCRE2_ERROR_PARTIAL ? PatternMatch::Kind::undecided : PatternMatch::Kind::whole;
  return {kind, bounds[0], bounds[1]};
}

}  // namespace rotulus::worker::tokenizer
