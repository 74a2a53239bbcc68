// Byte-level byte-pair encoding (GPT-2): text is cut by the pattern that the file names, and the bytes of each
// pre-token are merged by the file's list of merges.
//
// A byte that has no token is left out, and its neighbours meet, as in the library that trains these vocabularies.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "worker/model/tokenizer/encoder.h"
#include "worker/model/tokenizer/merge_rules.h"
#include "worker/model/tokenizer/pre_tokenizer.h"
#include "worker/model/tokenizer/special_token_index.h"
#include "worker/model/tokenizer/text_table.h"
#include "worker/model/tokenizer/vocabulary.h"

namespace rotulus::worker::tokenizer {

class BytePairEncoder final : public Encoder {
 public:
  // Throws Error{unsupported} for a pre-tokenizer we do not have, Error{malformed_file} if a merge names or makes what
  // is no token.
  explicit BytePairEncoder(const Vocabulary& vocabulary);

  std::unique_ptr<Cutter> make_cutter() const override;
  void encode(std::string_view pre_token, std::vector<TokenId>& ids) const override;
  std::string_view missing_bytes() const override { return missing_bytes_; }
  bool adds_bos() const override { return pre_tokenizer_.adds_bos; }

  const MergeRules& rules() const { return rules_; }

 private:
  void read_merges(const Vocabulary& vocabulary);
  void find_whole_tokens(const Vocabulary& vocabulary);
  void merge(std::string_view bytes, std::vector<TokenId>& ids) const;  // without the look-up

  PreTokenizer pre_tokenizer_;
  SpecialTokenIndex user_defined_;
  MergeRules rules_;
  std::string missing_bytes_;
  TextTable whole_tokens_;  // tokens that a pre-token of their bytes becomes; user-defined ones
};

}  // namespace rotulus::worker::tokenizer
