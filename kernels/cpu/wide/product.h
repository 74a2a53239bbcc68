// The inner product loop of attention, common to all rows with vectors: C[rows][16 * vectors] = A B, used for scores (A
// the queries, B a key panel) and for values (A the weights, B the values). B is read as it is stored.
//
// Every element of A B is one chain of FMAs over `depth` ascending, in one accumulator, whatever the size of the tile
// and whatever the type that equal numbers are stored in: the bits of a row do not depend on its neighbours.
//
// A row of the backend gives its vectors as `Simd`: see avx512/simd.h.
#pragma once

#include "kernels/cpu/kernel_table.h"

namespace rotulus::kernels::cpu {
namespace {

struct Operands {
  const float* a;
  std::size_t a_stride;
  const std::byte* b;
  std::size_t b_stride;  // bytes
  std::size_t depth;
  float* c;
  std::size_t c_stride;
  bool extend;          // C + A B: the chain begins with C, or ends in it where there are scales
  const float* scales;  // [16 * vectors] or nullptr: A B times these
  const char* next;     // a stream only: what will be read after B
};

// A stream comes from memory: the line 2 KiB ahead goes to L1, what comes after B to L2.
constexpr std::size_t kNearBytes = 2048;

template <KvType kType>
constexpr std::size_t vector_bytes() {
  return 16 * element_bits(kType) / 8;
}

template <typename Simd, std::size_t kBytes>
[[gnu::always_inline]] inline void prefetch(const char* near, const char* far) {
  for (std::size_t byte = 0; byte < kBytes; byte += 64) {
    Simd::prefetch_near(near + byte);
    Simd::prefetch_far(far + byte);
  }
}

// One term of every chain.
template <typename Simd, KvType kType, int kRows, int kVectors>
[[gnu::always_inline]] inline void add_term(const float* a, std::size_t a_stride, const std::byte* b,
                                            typename Simd::Floats (&sums)[kRows][kVectors]) {
  typename Simd::Floats row[kVectors];
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) row[v] = Simd::template load_codes<kType>(b + v * vector_bytes<kType>());
#pragma GCC unroll 6
  for (int r = 0; r < kRows; ++r) {
    const typename Simd::Floats value = Simd::all(a[r * a_stride]);
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) sums[r][v] = Simd::fma(value, row[v], sums[r][v]);
  }
}

template <typename Simd, KvType kType, bool kIsStream, int kRows, int kVectors>
[[gnu::noinline]] void tile_product(const Operands& operands) {
  using Floats = typename Simd::Floats;
  const Operands o = operands;  // stores to C cannot change it
  const float* a = o.a;
  const std::byte* b = o.b;
  const char* next = o.next;
  Floats sums[kRows][kVectors];
#pragma GCC unroll 6
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      const bool begins_with_c = o.extend && o.scales == nullptr;
      sums[r][v] = begins_with_c ? Simd::load(o.c + r * o.c_stride + 16 * v) : Simd::zero();
    }
  }
  constexpr int kUnroll = 8;  // a loop of few rounds is left without a mispredicted branch
  constexpr std::size_t kBytes = kVectors * vector_bytes<kType>();
  constexpr int kStepsPerLine = kBytes >= 64 ? 1 : 64 / kBytes;
  std::size_t depth = o.depth;
  for (; depth >= kUnroll; depth -= kUnroll) {
#pragma GCC unroll 8
    for (int u = 0; u < kUnroll; ++u) {
      if constexpr (kIsStream) {
        if (u % kStepsPerLine == 0) prefetch<Simd, kBytes>(reinterpret_cast<const char*>(b) + kNearBytes, next);
        next += o.b_stride;
      }
      add_term<Simd, kType, kRows, kVectors>(a + u, o.a_stride, b, sums);
      b += o.b_stride;
    }
    a += kUnroll;
  }
  for (; depth > 0; --depth, ++a, b += o.b_stride) add_term<Simd, kType, kRows, kVectors>(a, o.a_stride, b, sums);
#pragma GCC unroll 6
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      float* const c = o.c + r * o.c_stride + 16 * v;
      Floats sum = sums[r][v];
      if (o.scales != nullptr) {
        sum = Simd::fma(Simd::load(o.scales + 16 * v), sum, o.extend ? Simd::load(c) : Simd::zero());
      }
      Simd::store(c, sum);
    }
  }
}

template <typename Simd, KvType kType, bool kIsStream, int kVectors>
void rows_product(std::size_t rows, Operands o) {
  while (rows > 0) {
    const std::size_t count = rows >= 6 ? 6 : rows >= 3 ? 3 : rows;
    if (count == 6) {
      tile_product<Simd, kType, kIsStream, 6, kVectors>(o);
    } else if (count == 3) {
      tile_product<Simd, kType, kIsStream, 3, kVectors>(o);
    } else if (count == 2) {
      tile_product<Simd, kType, kIsStream, 2, kVectors>(o);
    } else {
      tile_product<Simd, kType, kIsStream, 1, kVectors>(o);
    }
    rows -= count;
    o.a += count * o.a_stride;
    o.c += count * o.c_stride;
  }
}

// Any number of rows and vectors.
template <typename Simd, KvType kType, bool kIsStream>
void product(std::size_t rows, std::size_t vectors, Operands o) {
  while (vectors > 0) {
    std::size_t count = 1;
    if (vectors >= 4 && Simd::kTileVectors >= 4) {
      count = 4;
      if constexpr (Simd::kTileVectors >= 4) rows_product<Simd, kType, kIsStream, 4>(rows, o);
    } else if (vectors >= 2 && Simd::kTileVectors >= 2) {
      count = 2;
      if constexpr (Simd::kTileVectors >= 2) rows_product<Simd, kType, kIsStream, 2>(rows, o);
    } else {
      rows_product<Simd, kType, kIsStream, 1>(rows, o);
    }
    vectors -= count;
    o.b += count * vector_bytes<kType>();
    o.next += count * vector_bytes<kType>();
    o.c += 16 * count;
    if (o.scales != nullptr) o.scales += 16 * count;
  }
}

}  // namespace
}  // namespace rotulus::kernels::cpu
