// A regular expression over UTF-8, compiled once (PCRE2, JIT where the machine allows it) and shared by threads; each
// thread matches with a MatchScratch of its own.
//
// Expressions are written as tokenizer.json files print them, with two differences in meaning from PCRE2's own: \s and
// \S are the White_Space property of Unicode (PCRE2 counts U+180E too), as in the libraries that trained the models.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

struct pcre2_real_code_8;
struct pcre2_real_match_data_8;
struct pcre2_real_match_context_8;
struct pcre2_real_jit_stack_8;

namespace rotulus::worker::tokenizer {

class MatchScratch final {
 public:
  MatchScratch();
  ~MatchScratch();
  MatchScratch(const MatchScratch&) = delete;
  MatchScratch& operator=(const MatchScratch&) = delete;

 private:
  friend class Pattern;
  pcre2_real_match_data_8* data_;
  pcre2_real_match_context_8* context_;
  pcre2_real_jit_stack_8* stack_;
};

struct PatternMatch {
  enum class Kind : std::uint8_t {
    none,      // no match begins anywhere in the text
    whole,     // [begin, end) matches, whatever follows the text
    undecided  // whether, or how far, a match at `begin` goes depends on what follows the text; none begins before it
  } kind = Kind::none;
  std::size_t begin = 0;
  std::size_t end = 0;
};

class Pattern final {
 public:
  explicit Pattern(std::string_view expression);  // CHECKs that it compiles: expressions are ours
  Pattern(Pattern&& other) noexcept;
  ~Pattern();

  // The leftmost match in `text`, which is valid UTF-8. Where `more_follows`, the end of `text` is not an end.
  // Throws Error{internal} if PCRE2 meets one of its limits.
  PatternMatch find(std::string_view text, bool more_follows, MatchScratch& scratch) const;

 private:
  pcre2_real_code_8* code_;
};

}  // namespace rotulus::worker::tokenizer
