// Weights of random codes, flush against a page that must not be read or written: whatever a block says, embed and pack
// read nothing behind it, and nothing before the first.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>

#include "protocol/error.h"
#include "tests/kernels/fixtures.h"

namespace rotulus::kernels::tests {
namespace {

// Bytes between two pages that nobody may touch, at the end or at the beginning of what lies between.
class FencedBytes final {
 public:
  FencedBytes(std::span<const std::byte> bytes, bool at_end) {
    const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    const std::size_t inside = (bytes.size() + page - 1) / page * page;
    size_ = inside + 2 * page;
    begin_ = static_cast<std::byte*>(::mmap(nullptr, size_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    CHECK(begin_ != MAP_FAILED, size_);
    CHECK(::mprotect(begin_ + page, inside, PROT_READ | PROT_WRITE) == 0, inside);
    std::byte* first = begin_ + page + (at_end ? inside - bytes.size() : 0);
    std::memcpy(first, bytes.data(), bytes.size());
    bytes_ = {first, bytes.size()};
  }
  ~FencedBytes() { ::munmap(begin_, size_); }
  FencedBytes(const FencedBytes&) = delete;
  FencedBytes& operator=(const FencedBytes&) = delete;
  std::span<const std::byte> bytes() const { return bytes_; }

 private:
  std::byte* begin_ = nullptr;
  std::size_t size_ = 0;
  std::span<const std::byte> bytes_;
};

class WeightBounds : public ::testing::TestWithParam<Isa> {};

TEST_P(WeightBounds, AreKeptWhateverTheBlocksSay) {
  const auto backend = make_cpu_backend(GetParam(), 1);
  const auto stream = backend->make_stream();
  Random random(7);
  for (const WeightType type : kWeightTypes) {
    for (const bool at_end : {true, false}) {
      for (const std::size_t rows : {1u, 7u, 65u}) {
        std::vector<std::byte> bytes(rows * weight_row_bytes(type, 512));
        for (std::byte& byte : bytes) byte = std::byte(random.below(256));
        const FencedBytes fenced(bytes, at_end);
        const WeightSource source{type, rows, 512, fenced.bytes()};
        const std::vector<std::uint32_t> ids{0, static_cast<std::uint32_t>(rows - 1)};
        Dense row(ids.size(), 512);
        backend->embed(*stream, source, ids, row.view());
        const auto packed = backend->pack(source);
        const Dense x(3, 512, random);
        Dense y(3, rows);
        for (const Role role : {Role::prefill, Role::decode})
          backend->matmul(*stream, role, *packed, x.view(), y.view());
        stream->wait();
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(EveryRow, WeightBounds, ::testing::ValuesIn(supported_isas()), isa_name);

}  // namespace
}  // namespace rotulus::kernels::tests
