// The inner product loop of dense products and of page scores in this row: C[rows][16 * vectors] (+)= A B in float32.
// A and B hold floats, or pairs of bf16 in the place of each: `Term` says how one is multiplied and added.
//
// Every element of A B is one chain of terms over `depth` ascending, in one accumulator, whatever the size of the tile:
// the bits of a row do not depend on its neighbours. At most 6 x 4 accumulators, four vectors of B and one of A: 29 of
// 32 registers, and 10 loads for 24 FMAs.
#pragma once

#include <immintrin.h>

#include <cstddef>

namespace rotulus::kernels::cpu::avx512 {
namespace {

constexpr std::size_t kTileRows = 6;
constexpr std::size_t kTileVectors = 4;

struct Operands {
  const float* a;
  std::size_t a_stride;
  const float* b;
  std::size_t b_stride;
  std::size_t depth;
  float* c;
  std::size_t c_stride;
  bool accumulate;    // C + A B
  const float* next;  // the A of the next product: fetched meanwhile
};

constexpr std::size_t kLineFloats = 16;

struct FmaTerm {
  [[gnu::always_inline]] static __m512 add(__m512 sum, __m512 a, __m512 b) { return _mm512_fmadd_ps(a, b, sum); }
};

template <typename Term, int kRows, int kVectors>
[[gnu::noinline]] void tile_product(const Operands& operands) {
  const Operands o = operands;  // stores to C cannot change it
  __m512 sums[kRows][kVectors];
#pragma GCC unroll 6
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      sums[r][v] = _mm512_setzero_ps();
      _mm_prefetch(reinterpret_cast<const char*>(o.c + r * o.c_stride + 16 * v), _MM_HINT_T0);
    }
  }
  const float* a = o.a;
  const float* b = o.b;
  const float* next = o.next;
  for (std::size_t left = o.depth; left > 0;) {
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r) _mm_prefetch(reinterpret_cast<const char*>(next + r * o.a_stride), _MM_HINT_T0);
    next += kLineFloats;
    const std::size_t steps = left < kLineFloats ? left : kLineFloats;
    left -= steps;
    for (const float* const end = a + steps; a != end; ++a, b += o.b_stride) {
      __m512 row[kVectors];
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) row[v] = _mm512_loadu_ps(b + 16 * v);
#pragma GCC unroll 6
      for (int r = 0; r < kRows; ++r) {
        const __m512 value = _mm512_set1_ps(a[r * o.a_stride]);
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; ++v) sums[r][v] = Term::add(sums[r][v], value, row[v]);
      }
    }
  }
  if (o.accumulate) {
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) {
        sums[r][v] = _mm512_add_ps(_mm512_loadu_ps(o.c + r * o.c_stride + 16 * v), sums[r][v]);
      }
    }
  }
#pragma GCC unroll 6
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) _mm512_storeu_ps(o.c + r * o.c_stride + 16 * v, sums[r][v]);
  }
}

template <typename Term, int kVectors>
void rows_product(std::size_t rows, const Operands& o) {
  switch (rows) {
    case 1:
      return tile_product<Term, 1, kVectors>(o);
    case 2:
      return tile_product<Term, 2, kVectors>(o);
    case 3:
      return tile_product<Term, 3, kVectors>(o);
    case 4:
      return tile_product<Term, 4, kVectors>(o);
    case 5:
      return tile_product<Term, 5, kVectors>(o);
    default:
      return tile_product<Term, 6, kVectors>(o);
  }
}

// A tile of 1..6 rows and 1..4 vectors.
template <typename Term>
void product(std::size_t rows, std::size_t vectors, const Operands& o) {
  switch (vectors) {
    case 1:
      return rows_product<Term, 1>(rows, o);
    case 2:
      return rows_product<Term, 2>(rows, o);
    case 3:
      return rows_product<Term, 3>(rows, o);
    default:
      return rows_product<Term, 4>(rows, o);
  }
}

}  // namespace
}  // namespace rotulus::kernels::cpu::avx512
