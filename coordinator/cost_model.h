// How long a document takes to compute, learned from the chunks that were:
//
//   seconds per token = a + b · attended        a: dense products, b: attention to one more token
//
// fitted by least squares over chunks, weighted by their tokens. Values; the caller forgets it with its worker group.
#pragma once

#include <cstdint>
#include <optional>

#include "protocol/messages.h"

namespace rotulus::coordinator {

// How many tokens a row of `range` attends to, on average, in a context that is prefilled as `retrieval` says.
double mean_attended(protocol::TokenRange range, const protocol::RetrievalParameters& retrieval);

class CostModel final {
 public:
  void observe(protocol::TokenRange range, const protocol::RetrievalParameters& retrieval, double seconds);
  // Of a whole document; nullopt: nothing was computed yet.
  std::optional<double> seconds(std::uint64_t tokens, const protocol::RetrievalParameters& retrieval) const;

 private:
  // Sums over tokens of 1, x, y, x·x, x·y; x = attended, y = seconds per token.
  double weight_ = 0;
  double x_ = 0;
  double y_ = 0;
  double xx_ = 0;
  double xy_ = 0;
};

}  // namespace rotulus::coordinator
