// Merging long pre-tokens: megabytes of one letter, of spaces, of text in a script without them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "worker/model/tokenizer/merge_rules.h"

namespace rotulus::worker::tokenizer {

inline constexpr std::size_t kSegmentBytes = 64u << 10;  // its symbols and lists stay in the second-level cache

// Adds what merging all of `text` gives, computed in segments of about `segment_bytes`, so that memory does not grow
// with the text. Exact because of this: if every two neighbours of a sequence of tokens, merged from their own text,
// give themselves again, then merging all of the text gives the sequence. (Merging the whole, look at the first merge
// that crosses a border of the sequence, between x and y say. Until then what happened inside x and y is what happens
// when xy is merged alone, as the best pair of the whole is also the best of its part; so that merge would happen there
// too, and xy would not give x and y.) Two segments are therefore joined where the tokens at the border pass that test;
// where they do not, the border moves back by a token; after a few moves the text is merged whole.
void merge_long(const MergeRules& rules, std::string_view text, std::size_t segment_bytes, std::vector<TokenId>& ids);

}  // namespace rotulus::worker::tokenizer
