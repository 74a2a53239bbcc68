#include "worker/answer_text.h"

#include <algorithm>

namespace rotulus::worker {

std::string AnswerText::append(std::string_view token_bytes) {
  if (is_stopped_) return {};
  held_ += characters_.append(token_bytes);
  return release(false);
}

std::string AnswerText::finish() {
  if (is_stopped_) return {};
  held_ += characters_.finish();
  return release(true);
}

std::string AnswerText::release(bool is_final) {
  std::size_t first_stop = std::string::npos;
  for (const std::string& stop : stop_) first_stop = std::min(first_stop, held_.find(stop));
  if (first_stop != std::string::npos) {
    is_stopped_ = true;
    std::string text = held_.substr(0, first_stop);
    held_.clear();
    return text;
  }
  // The longest end of what is held that some stop string begins with must wait.
  std::size_t keep = 0;
  for (const std::string& stop : stop_) {
    for (std::size_t length = std::min(stop.size() - 1, held_.size()); !is_final && length > keep; --length) {
      if (held_.compare(held_.size() - length, length, stop, 0, length) == 0) keep = length;
    }
  }
  std::string text = held_.substr(0, held_.size() - keep);
  held_.erase(0, held_.size() - keep);
  return text;
}

}  // namespace rotulus::worker
