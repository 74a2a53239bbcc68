// The one inner product loop of this row: C[rows][16 * vectors] (+)= A B, used for panels of dense products, for scores
// (A the queries, B a key panel) and for values (A the weights, B the values).
//
// Every element of A B is one chain of FMAs over `depth` ascending, in one accumulator, whatever the size of the tile:
// the bits of a row do not depend on its neighbours. At most 6 x 4 accumulators, four vectors of B and one of A: 29 of
// 32 registers, and 10 loads for 24 FMAs.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

namespace rotulus::kernels::cpu::avx512 {
namespace {

constexpr std::size_t kTileRows = 6;
constexpr std::size_t kTileVectors = 4;

struct Half {
  std::uint16_t bits;
};

[[gnu::always_inline]] inline __m512 load(const float* from) {
  return _mm512_loadu_ps(from);
}
[[gnu::always_inline]] inline __m512 load(const Half* from) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
}

// B in f16 is read from memory once: the line 2 KiB ahead into L1, what comes after (`next`) into L2.
constexpr std::size_t kNearBytes = 2048;

enum class Into : std::uint8_t {
  replace,  // C = A B
  add,      // C = C + A B
  extend    // the chain begins with C: cutting `depth` in two leaves no trace
};

template <typename Element>
struct Operands {
  const float* a;
  std::size_t a_stride;
  const Element* b;
  std::size_t b_stride;
  std::size_t depth;
  float* c;
  std::size_t c_stride;
  Into into;
  const char* next = nullptr;  // only used where B is f16
};

template <int kRows, int kVectors, typename Element>
[[gnu::noinline]] void tile_product(const Operands<Element>& o) {
  __m512 sums[kRows][kVectors];
#pragma GCC unroll 6
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      sums[r][v] = o.into == Into::extend ? _mm512_loadu_ps(o.c + r * o.c_stride + 16 * v) : _mm512_setzero_ps();
    }
  }
  const float* a = o.a;
  const Element* b = o.b;
  const char* next = o.next;
  for (std::size_t k = o.depth; k > 0; --k) {
    if constexpr (sizeof(Element) == 2) {
#pragma GCC unroll 2
      for (int line = 0; line < (kVectors + 1) / 2; ++line) {
        _mm_prefetch(reinterpret_cast<const char*>(b) + kNearBytes + 64 * line, _MM_HINT_T0);
        _mm_prefetch(next + 64 * line, _MM_HINT_T1);
      }
      next += o.b_stride * sizeof(Element);
    }
    __m512 row[kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) row[v] = load(b + 16 * v);
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r) {
      const __m512 value = _mm512_set1_ps(a[r * o.a_stride]);
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) sums[r][v] = _mm512_fmadd_ps(value, row[v], sums[r][v]);
    }
    ++a;
    b += o.b_stride;
  }
#pragma GCC unroll 6
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      float* const c = o.c + r * o.c_stride + 16 * v;
      _mm512_storeu_ps(c, o.into == Into::add ? _mm512_add_ps(_mm512_loadu_ps(c), sums[r][v]) : sums[r][v]);
    }
  }
}

template <int kVectors, typename Element>
void rows_product(std::size_t rows, const Operands<Element>& o) {
  switch (rows) {
    case 1:
      return tile_product<1, kVectors>(o);
    case 2:
      return tile_product<2, kVectors>(o);
    case 3:
      return tile_product<3, kVectors>(o);
    case 4:
      return tile_product<4, kVectors>(o);
    case 5:
      return tile_product<5, kVectors>(o);
    default:
      return tile_product<6, kVectors>(o);
  }
}

// A tile of 1..6 rows and 1..4 vectors.
template <typename Element>
void product(std::size_t rows, std::size_t vectors, const Operands<Element>& o) {
  switch (vectors) {
    case 1:
      return rows_product<1>(rows, o);
    case 2:
      return rows_product<2>(rows, o);
    case 3:
      return rows_product<3>(rows, o);
    default:
      return rows_product<4>(rows, o);
  }
}

}  // namespace
}  // namespace rotulus::kernels::cpu::avx512
