#include "kernels/cpu/elementary.h"
#include "kernels/cpu/kv_codes.h"
#include "kernels/cpu/row_kernels.h"

namespace rotulus::kernels::cpu::scalar {
namespace {

// A code, scaled where it has a scale.
float element(const KvLayout& layout, const std::byte* row, std::size_t index, const std::byte* scales,
              std::size_t scale) {
  const float code = decode_code(layout.type, row, index);
  return layout.groups == 0 ? code : code * decode_kv_scale(scales, scale);
}

// The tokens of a block that a row head sees (some of them are masked).
struct Tokens {
  std::size_t begin;
  std::size_t end;
};
Tokens seen_tokens(const FoldStripe& fold, std::uint32_t block, std::size_t row_head) {
  const std::size_t before = block * std::size_t{kBlockTokens};
  const std::size_t start = fold.starts[row_head];
  const std::size_t limit = fold.limits[row_head];
  const std::size_t count = fold.blocks[block].token_count;
  const std::size_t end = limit <= before ? 0 : limit - before;
  return {start <= before ? 0 : start - before, end < count ? end : count};
}

bool page_used(const FoldBlock& block, std::size_t token) {
  return block.page_mask >> (token / kPageTokens) & 1u;
}

// Keys and values of the tokens in use as float32: [block][head_dim][128], [block][128][head_dim].
void widen(const FoldStripe& fold, float* keys, float* values) {
  const std::size_t dim = fold.head_dim;
  for (std::uint32_t b = 0; b < fold.block_count; ++b) {
    const FoldBlock& block = fold.blocks[b];
    for (std::size_t t = 0; t < block.token_count; ++t) {
      if (!page_used(block, t)) continue;
      const KvLayout& layout = fold.layout;
      const std::byte* panel = block.keys + t / kPanelTokens * layout.panel_bytes;
      const std::byte* row = block.values + t * layout.value_row_bytes;
      const std::size_t column = t % kPanelTokens;
      for (std::size_t d = 0; d < dim; ++d) {
        const std::size_t group = d / kScaleChannels;
        keys[(b * dim + d) * kBlockTokens + t] = element(layout, panel + d * layout.key_row_bytes, column,
                                                         panel + layout.key_scales, group * kPanelTokens + column);
        values[(b * kBlockTokens + t) * dim + d] =
            element(layout, row, d, block.values + layout.value_scales, group * kBlockTokens + t);
      }
    }
  }
}

// cap tanh(score / cap); the exponential's error is far below a float's.
float capped(float score, float cap) {
  if (cap == 0) return score;
  return static_cast<float>(cap * tanh_double(static_cast<double>(score) / cap));
}

// The scores of one row head; returns the largest (-inf where none is seen).
float score(const FoldStripe& fold, std::size_t row_head, const float* keys, float* scores) {
  const std::size_t dim = fold.head_dim;
  float max = -__builtin_inff();
  for (std::uint32_t b = 0; b < fold.block_count; ++b) {
    const FoldBlock& block = fold.blocks[b];
    const float* query = block.queries + row_head * kQueryStride;
    const Tokens seen = seen_tokens(fold, b, row_head);
    for (std::size_t t = seen.begin; t < seen.end; ++t) {
      if (!page_used(block, t)) continue;
      float sum = 0;
      for (std::size_t d = 0; d < dim; ++d) sum += query[d] * keys[(b * dim + d) * kBlockTokens + t];
      sum = capped(sum, fold.soft_cap);
      scores[b * kBlockTokens + t] = sum;
      if (!(sum <= max)) max = sum;
    }
  }
  return max;
}

float exp2_float(float x) {
  return static_cast<float>(exp_double(static_cast<double>(x) * kLn2));
}

// Each page's own softmax.
void sum_pages(const FoldStripe& fold, std::size_t row_head, const float* scores) {
  float* const max = fold.page_max + row_head * kStripePages;
  float* const sum = fold.page_sum + row_head * kStripePages;
  for (std::uint32_t b = 0; b < fold.block_count; ++b) {
    const Tokens seen = seen_tokens(fold, b, row_head);
    for (std::size_t page = 0; page < kBlockPages; ++page) {
      const std::size_t index = b * kBlockPages + page;
      max[index] = -__builtin_inff();
      sum[index] = 0;
      if (!page_used(fold.blocks[b], page * kPageTokens)) continue;
      const std::size_t begin = seen.begin > page * kPageTokens ? seen.begin : page * kPageTokens;
      const std::size_t end = seen.end < (page + 1) * kPageTokens ? seen.end : (page + 1) * kPageTokens;
      const float* of_block = scores + b * kBlockTokens;
      for (std::size_t t = begin; t < end; ++t) {
        if (!(of_block[t] <= max[index])) max[index] = of_block[t];
      }
      for (std::size_t t = begin; t < end; ++t) sum[index] += exp2_float(of_block[t] - max[index]);
    }
  }
}

}  // namespace

void fold_stripe(const FoldStripe& fold) {
  const std::size_t dim = fold.head_dim;
  float* keys = fold.scratch;
  float* values = keys + kStripeTokens * dim;
  float* scores = values + kStripeTokens * dim;
  widen(fold, keys, values);
  for (std::size_t i = 0; i < fold.row_heads; ++i) {
    const float stripe_max = score(fold, i, keys, scores);
    if (fold.page_max != nullptr) sum_pages(fold, i, scores);
    if (stripe_max == -__builtin_inff()) continue;  // the row sees nothing here
    const float max = stripe_max <= fold.max[i] ? fold.max[i] : stripe_max;
    const float rescale = fold.max[i] == -__builtin_inff() ? 0.0f : exp2_float(fold.max[i] - max);
    float* out = fold.out + i * dim;
    for (std::size_t d = 0; d < dim; ++d) out[d] *= rescale;
    float sum = 0;
    for (std::uint32_t b = 0; b < fold.block_count; ++b) {
      const FoldBlock& block = fold.blocks[b];
      const Tokens seen = seen_tokens(fold, b, i);
      for (std::size_t t = seen.begin; t < seen.end; ++t) {
        if (!page_used(block, t)) continue;
        const float weight = exp2_float(scores[b * kBlockTokens + t] - max);
        sum += weight;
        const float* value = values + (b * kBlockTokens + t) * dim;
        for (std::size_t d = 0; d < dim; ++d) out[d] += weight * value[d];
      }
    }
    fold.sum[i] = fold.sum[i] * rescale + sum;
    fold.max[i] = max;
  }
}

}  // namespace rotulus::kernels::cpu::scalar
