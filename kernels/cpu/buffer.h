// Zeroed memory from the system: 64-byte aligned, in huge pages where it is large.
#pragma once

#include "kernels/backend.h"

namespace rotulus::kernels::cpu {

class HostBuffer final : public Buffer {
 public:
  explicit HostBuffer(std::size_t bytes);  // throws std::bad_alloc
  ~HostBuffer() override;
  HostBuffer(const HostBuffer&) = delete;
  HostBuffer& operator=(const HostBuffer&) = delete;

  std::byte* data() override { return data_; }
  std::size_t bytes() const override { return bytes_; }

 private:
  std::byte* data_ = nullptr;
  std::size_t bytes_ = 0;
  void* mapping_ = nullptr;
  std::size_t mapping_bytes_ = 0;
};

// Floats that only grow; the content does not survive growing. For scratch.
class Scratch final {
 public:
  float* reserve(std::size_t floats) {
    if (!buffer_ || buffer_->bytes() < floats * sizeof(float)) {
      buffer_.reset();
      buffer_ = std::make_unique<HostBuffer>(floats * sizeof(float));
    }
    return data();
  }
  float* data() { return reinterpret_cast<float*>(buffer_->data()); }

 private:
  std::unique_ptr<HostBuffer> buffer_;
};

}  // namespace rotulus::kernels::cpu
