#include <utility>

#include "worker/model/tokenizer.h"
#include "worker/model/tokenizer/utf8.h"

namespace rotulus::worker {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD

}  // namespace

std::string TextStream::append(std::string_view bytes) {
  using Kind = tokenizer::Utf8Step::Kind;
  held_ += bytes;
  std::string text;
  std::string_view rest = held_;
  while (!rest.empty()) {
    const auto step = tokenizer::step_utf8(rest);
    if (step.kind == Kind::incomplete) break;
    text += step.kind == Kind::character ? rest.substr(0, step.bytes) : kReplacement;
    rest.remove_prefix(step.bytes);
  }
  held_ = std::string(rest);
  return text;
}

std::string TextStream::finish() {
  // What is held is the start of one character: one maximal subpart.
  return std::exchange(held_, {}).empty() ? std::string() : std::string(kReplacement);
}

}  // namespace rotulus::worker
