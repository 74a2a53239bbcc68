// What pages promise: scores from landmarks, their sums and votes.
#include "kernels/cpu/elementary.h"
#include "kernels/cpu/half.h"
#include "kernels/cpu/row_kernels.h"

namespace rotulus::kernels::cpu::scalar {

void score_block(const ScoreBlock& task) {
  const std::size_t dim = task.head_dim;
  for (std::uint32_t page = 0; page < kBlockPages; ++page) {
    if ((task.pages >> page & 1u) == 0) continue;
    const std::uint16_t* means = task.landmarks.means + page * dim;
    const std::uint32_t* sketch = task.landmarks.sketch + page * dim;
    for (std::size_t i = 0; i < task.row_heads; ++i) {
      const float* query = task.queries + i * dim;
      float best = -__builtin_inff();
      for (std::uint32_t token = 0; token < kPageTokens; ++token) {
        float sum = 0;
        for (std::size_t c = 0; c < dim; ++c) {
          const float level = kSketchLevels[sketch[c] >> 2 * token & 3u];
          sum += query[c] * (f16_to_float(means[c]) + decode_scale(task.landmarks.scales[c]) * level);
        }
        best = sum > best ? sum : best;
      }
      task.scores[i * task.stride + page] = best;
    }
  }
}

float sum_scores(const float* scores, std::size_t count) {
  float most = -__builtin_inff();
  for (std::size_t i = 0; i < count; ++i) most = scores[i] > most ? scores[i] : most;
  if (most == -__builtin_inff()) return most;
  double sum = 0;
  for (std::size_t i = 0; i < count; ++i) sum += exp_double(static_cast<double>(scores[i]) - most);
  return static_cast<float>(most + log_double(sum));
}

void raise_votes(const float* scores, float lse, std::size_t count, float* votes) {
  for (std::size_t i = 0; i < count; ++i) {
    const float vote = scores[i] - lse;
    votes[i] = vote > votes[i] ? vote : votes[i];
  }
}

}  // namespace rotulus::kernels::cpu::scalar
