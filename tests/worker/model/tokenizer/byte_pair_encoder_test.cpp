// The merge loops, short and long, against the definition of byte-pair encoding: merge the leftmost pair of best rank,
// again and again.
#include "worker/model/tokenizer/byte_pair_encoder.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "tests/worker/model/byte_vocabulary.h"
#include "worker/model/tokenizer/long_merge.h"

namespace rotulus::worker::tokenizer {
namespace {

using Ids = std::vector<TokenId>;

// `text` in letters a to d; tokens by their text, ranks by their place in `merges`.
Ids merge_as_defined(const Vocabulary& vocabulary, const std::string& text) {
  std::map<std::string, TokenId> ids;
  for (std::size_t id = 0; id < vocabulary.tokens.size(); ++id) ids.emplace(vocabulary.tokens[id], id);
  std::vector<std::string> symbols;
  for (const char letter : text) symbols.emplace_back(1, letter);
  for (bool merged = true; merged;) {
    merged = false;
    for (const std::string& merge : vocabulary.merges) {
      for (std::size_t i = 0; i + 1 < symbols.size() && !merged; ++i) {
        if (symbols[i] + ' ' + symbols[i + 1] != merge) continue;
        symbols[i] += symbols[i + 1];
        symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(i) + 1);
        merged = true;
      }
      if (merged) break;
    }
  }
  Ids result;
  for (const std::string& symbol : symbols) result.push_back(ids.at(symbol));
  return result;
}

rc::Gen<std::string> letters(std::size_t shortest, std::size_t longest) {
  return rc::gen::mapcat(rc::gen::inRange(shortest, longest + 1), [](std::size_t length) {
    return rc::gen::container<std::string>(length,
                                           rc::gen::weightedElement<char>({{5, 'a'}, {3, 'b'}, {1, 'c'}, {1, 'd'}}));
  });
}

// Random merges, in random order: also those that no training would list, where a merge stands before the merges that
// make its parts.
Vocabulary random_vocabulary() {
  std::vector<std::string> symbols = {"a", "b", "c", "d"};
  std::vector<std::string> merges;
  const int count = *rc::gen::inRange(0, 14);
  for (int i = 0; i < count; ++i) {
    const std::string left = *rc::gen::elementOf(symbols);
    const std::string right = *rc::gen::elementOf(symbols);
    if (std::find(symbols.begin(), symbols.end(), left + right) != symbols.end()) continue;
    symbols.push_back(left + right);
    merges.push_back(left + ' ' + right);
  }
  if (*rc::gen::arbitrary<bool>()) {
    for (std::size_t i = merges.size(); i > 1; --i)
      std::swap(merges[i - 1], merges[*rc::gen::inRange<std::size_t>(0, i)]);
  }
  return byte_vocabulary(merges, "gpt-2");
}

RC_GTEST_PROP(BytePairEncoder, MergesShortPreTokensAsDefined, ()) {
  const Vocabulary vocabulary = random_vocabulary();
  const std::string text = *letters(0, 64);
  Ids ids;
  BytePairEncoder(vocabulary).encode(text, ids);
  RC_ASSERT(ids == merge_as_defined(vocabulary, text));
}

RC_GTEST_PROP(BytePairEncoder, MergesLongPreTokensAsDefined, ()) {
  const Vocabulary vocabulary = random_vocabulary();
  const std::string text = *letters(65, 300);
  Ids ids;
  BytePairEncoder(vocabulary).encode(text, ids);
  RC_ASSERT(ids == merge_as_defined(vocabulary, text));
}

// Segments of a few bytes, so that borders are met, fail and move, and tokens are longer than segments.
RC_GTEST_PROP(LongMerge, JoinsSegmentsToWhatTheWholeGives, ()) {
  const Vocabulary vocabulary = random_vocabulary();
  const std::string text = *letters(0, 200);
  const auto segment_bytes = *rc::gen::inRange<std::size_t>(1, 64);
  Ids ids = {7};  // what stands there stays
  merge_long(BytePairEncoder(vocabulary).rules(), text, segment_bytes, ids);
  Ids expected = merge_as_defined(vocabulary, text);
  expected.insert(expected.begin(), 7);
  RC_ASSERT(ids == expected);
}

// "abc" is a token that merging does not reach: "b c" comes first.
TEST(BytePairEncoder, TakesWholeTokensFirstOnlyWhereAsked) {
  const std::vector<std::string> merges = {"b c", "a b", "ab c"};
  Ids merged;
  BytePairEncoder(byte_vocabulary(merges, "gpt-2")).encode("abc", merged);
  EXPECT_EQ(merged, (Ids{'a', 256}));
  Ids whole;
  BytePairEncoder(byte_vocabulary(merges, "llama-bpe")).encode("abc", whole);
  EXPECT_EQ(whole, (Ids{258}));
}

TEST(BytePairEncoder, LetsTheNeighboursOfAMissingByteMeet) {
  Vocabulary vocabulary = byte_vocabulary({"a b"}, "gpt-2");
  vocabulary.tokens['x'] = "not the letter";
  const BytePairEncoder encoder(vocabulary);
  EXPECT_EQ(encoder.missing_bytes(), "x");
  for (const std::size_t length : {std::size_t{1}, std::size_t{100}}) {
    Ids ids;
    encoder.encode('a' + std::string(length, 'x') + 'b', ids);
    EXPECT_EQ(ids, Ids{256});
  }
}

}  // namespace
}  // namespace rotulus::worker::tokenizer
