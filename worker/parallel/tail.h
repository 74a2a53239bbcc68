// The tokens of one running request behind its document: private, in the memory of the request's home rank, in the
// same stored form as a context's blocks, and one more leaf of the merge. Never durable.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "kernels/backend.h"

namespace rotulus::worker {

class Tail final {
 public:
  Tail(kernels::Backend& backend, const kernels::KvFormat& format, std::uint32_t layers, std::int64_t first_position);

  std::int64_t first_position() const { return first_position_; }  // of its first token in the document's positions
  std::uint64_t token_count() const { return token_count_; }
  void grow(std::uint64_t rows) { token_count_ += rows; }  // after a step in which all layers got `rows` more
  void cut(std::uint64_t token_count) { token_count_ = token_count; }  // what comes next takes the place of the rest

  // Block `index` (128 tokens) of a layer; zeroed memory where it was not asked for before.
  std::byte* block(std::uint32_t layer, std::uint64_t index);

 private:
  kernels::Backend& backend_;
  kernels::KvFormat format_;
  std::int64_t first_position_;
  std::uint64_t token_count_ = 0;
  std::vector<std::vector<std::unique_ptr<kernels::Buffer>>> blocks_;  // [layer][block]
};

}  // namespace rotulus::worker
