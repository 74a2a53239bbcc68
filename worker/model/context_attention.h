// Attention as the transformer sees it: rows of queries, keys and values of one layer go in, attended rows come out.
// Where the keys are, which of them are read and who computes what is the business of whoever implements this.
#pragma once

#include <cstdint>

#include "kernels/views.h"

namespace rotulus::worker {

class ContextAttention {
 public:
  virtual ~ContextAttention() = default;

  // query [rows, query_heads * head_dim], key and value [rows, kv_heads * head_dim], not rotated, of the rows of this
  // step that this rank computes; out [rows, query_heads * head_dim]. `key` is scratch afterwards. All ranks call it
  // for the same layers in the same order, also with no rows.
  virtual void attend(std::uint32_t layer, kernels::ConstMatrix query, kernels::Matrix key, kernels::ConstMatrix value,
                      kernels::Matrix out) = 0;
};

}  // namespace rotulus::worker
