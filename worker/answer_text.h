// The text of a running answer: whole characters, held back while they may become a stop string, cut before one.
// A pure function of the tokens fed to it, so that a replayed answer says the same pieces.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "worker/model/tokenizer.h"

namespace rotulus::worker {

class AnswerText final {
 public:
  explicit AnswerText(std::vector<std::string> stop) : stop_(std::move(stop)) {}

  // The text that may be shown now. Sets is_stopped() when a stop string was completed; nothing follows it.
  std::string append(std::string_view token_bytes);
  // What was held back and belongs to the answer after all.
  std::string finish();
  bool is_stopped() const { return is_stopped_; }

 private:
  std::string release(bool is_final);

  std::vector<std::string> stop_;
  TextStream characters_;
  std::string held_;
  bool is_stopped_ = false;
};

}  // namespace rotulus::worker
