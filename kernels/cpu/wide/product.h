// The inner product loop of attention, common to all rows with vectors: C[rows][16 * vectors] = A B, used for scores (A
// the queries, B a key panel) and for values (A the weights, B the values). B is read as it is stored.
//
// Every element of A B is one chain of FMAs over `depth` ascending, in one accumulator, whatever the size of the tile
// and whatever the type that equal numbers are stored in: the bits of a row do not depend on its neighbours.
//
// A row of the backend gives its vectors as `Simd`: see avx512/simd.h.
#pragma once

#include "kernels/cpu/kernel_table.h"
#include "kernels/cpu/wide/ahead.h"

namespace rotulus::kernels::cpu {
namespace {

struct Operands {
  const float* a;
  std::size_t a_stride;  // where the kernel has none
  const std::byte* b;
  std::size_t b_stride;  // bytes
  std::size_t depth;
  float* c;
  std::size_t c_stride;
  const std::byte* scales;  // [16 * vectors] in f16, for Into::scale and Into::add_scaled only
  Ahead* next;              // what will be read later, where the kernel asks for it
};

enum class Into : std::uint8_t {
  store,      // C = A B
  scale,      // C = scales * A B
  extend,     // the chain begins with C: cutting `depth` in two leaves no trace
  add_scaled  // C = scales * A B + C
};

constexpr int kGroupVectors = kScaleChannels / 16;

template <KvType kType>
constexpr std::size_t vector_bytes() {
  return 16 * element_bits(kType) / 8;
}

// Lines that are asked for behind a group of channels of a key panel: those of its scales, and as many for the values.
// Rows of four bits are half a line, and each has asked for a whole one.
template <KvType kType>
constexpr std::size_t scale_lines() {
  return element_bits(kType) < 8 ? 0 : 2 * kPanelTokens * sizeof(std::uint16_t) / kLineBytes;
}

// Sixteen neighbouring scales.
template <typename Simd>
[[gnu::always_inline]] inline typename Simd::Floats load_scales(const std::byte* from) {
  return Simd::template load_codes<KvType::f16>(from);
}

// A kernel: the type of B, the lines that it asks for ahead with each row of B, the stride of A (a constant, so that
// all rows of a tile are reached from one register; 0: any), and what becomes of C. Where channels are scaled in
// groups, each two vectors of C have an A of their own, kGroupStride behind the one before (0: all share one).
template <typename SimdOfRow, KvType kTypeOfB, std::size_t kLinesAhead, std::size_t kStrideOfA, Into kIntoC,
          std::size_t kStrideOfGroups = 0>
struct Kernel {
  using Simd = SimdOfRow;
  static constexpr KvType kType = kTypeOfB;
  static constexpr std::size_t kLines = kLinesAhead;
  static constexpr std::size_t kStride = kStrideOfA;
  static constexpr Into kInto = kIntoC;
  static constexpr std::size_t kGroupStride = kStrideOfGroups;
};

// A vector of a row of B, in the order of lanes that the tile keeps, and a vector of C from that order or into it.
template <typename K>
[[gnu::always_inline]] inline typename K::Simd::Floats load_row_vector(const std::byte* from) {
  if constexpr (K::Simd::template kLoadsTransposed<K::kType>) {
    return K::Simd::template load_transposed<K::kType>(from);
  } else {
    return K::Simd::template load_codes<K::kType>(from);
  }
}
template <typename K>
[[gnu::always_inline]] inline typename K::Simd::Floats reordered(typename K::Simd::Floats x) {
  if constexpr (K::Simd::template kLoadsTransposed<K::kType>) return K::Simd::transpose(x);
  return x;
}

// One term of every chain.
template <typename K, int kRows, int kVectors>
[[gnu::always_inline]] inline void add_term(const float* a, std::size_t a_stride, const std::byte* b,
                                            typename K::Simd::Floats (&sums)[kRows][kVectors]) {
  using Simd = typename K::Simd;
  constexpr int kShared = K::kGroupStride == 0 ? kVectors : kGroupVectors;  // vectors that share one A
  typename Simd::Floats row[kVectors];
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) row[v] = load_row_vector<K>(b + v * vector_bytes<K::kType>());
#pragma GCC unroll 6
  for (int r = 0; r < kRows; ++r) {
    typename Simd::Floats value;
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      if (v % kShared == 0) value = Simd::load_all(a + r * a_stride + v / kShared * K::kGroupStride);
      sums[r][v] = Simd::fma(value, row[v], sums[r][v]);
    }
  }
}

template <typename K, int kRows, int kVectors>
[[gnu::noinline]] void tile_product(const Operands& o) {
  using Simd = typename K::Simd;
  using Floats = typename Simd::Floats;
  constexpr int kUnroll = 8;  // a loop of few rounds is left without a mispredicted branch
  float* const c = o.c;
  const std::size_t c_stride = o.c_stride;
  const std::byte* const scales = o.scales;
  Floats sums[kRows][kVectors];
#pragma GCC unroll 6
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      sums[r][v] = K::kInto == Into::extend ? reordered<K>(Simd::load(c + r * c_stride + 16 * v)) : Simd::zero();
    }
  }
  const float* a = o.a;
  const std::byte* b = o.b;
  const std::size_t a_stride = K::kStride == 0 ? o.a_stride : K::kStride;
  const std::size_t b_stride = o.b_stride;
  std::size_t depth = o.depth;
  Ahead::Cursor next{};
  if constexpr (K::kLines > 0) next = o.next->cursor;
  for (; depth >= kUnroll; depth -= kUnroll) {
#pragma GCC unroll 8
    for (int u = 0; u < kUnroll; ++u) {
      for (std::size_t i = 0; i < K::kLines; ++i) next.step();
      add_term<K, kRows, kVectors>(a + u, a_stride, b, sums);
      b += b_stride;
    }
    a += kUnroll;
  }
  for (; depth > 0; --depth, ++a, b += b_stride) add_term<K, kRows, kVectors>(a, a_stride, b, sums);
  constexpr bool kIsScaled = K::kInto == Into::scale || K::kInto == Into::add_scaled;
  if constexpr (K::kLines > 0) {
    for (std::size_t i = 0; kIsScaled && i < scale_lines<K::kType>(); ++i) next.step();
    o.next->cursor = next;
  }
  Floats scale[kVectors];
#pragma GCC unroll 4
  for (int v = 0; kIsScaled && v < kVectors; ++v) {
    scale[v] = load_scales<Simd>(scales + v * vector_bytes<KvType::f16>());
  }
#pragma GCC unroll 6
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      float* const at = c + r * c_stride + 16 * v;
      Floats sum = reordered<K>(sums[r][v]);
      if constexpr (K::kInto == Into::scale) sum = Simd::mul(scale[v], sum);
      if constexpr (K::kInto == Into::add_scaled) sum = Simd::fma(scale[v], sum, Simd::load(at));
      Simd::store(at, sum);
    }
  }
}

template <typename K, int kVectors>
[[gnu::always_inline]] inline void rows_product(std::size_t rows, Operands& o) {
  const float* const a = o.a;
  float* const c = o.c;
  for (; rows >= 6; rows -= 6) {
    tile_product<K, 6, kVectors>(o);
    o.a += 6 * (K::kStride == 0 ? o.a_stride : K::kStride);
    o.c += 6 * o.c_stride;
  }
  if (rows == 5) tile_product<K, 5, kVectors>(o);
  if (rows == 4) tile_product<K, 4, kVectors>(o);
  if (rows == 3) tile_product<K, 3, kVectors>(o);
  if (rows == 2) tile_product<K, 2, kVectors>(o);
  if (rows == 1) tile_product<K, 1, kVectors>(o);
  o.a = a;
  o.c = c;
}

// Any number of rows and vectors. Inlined, so that the operands are stored for the tile once, word by word as it loads
// them: a copy of them made a core wait for as long as a small tile takes.
template <typename K>
[[gnu::always_inline]] inline void product(std::size_t rows, std::size_t vectors, Operands o) {
  const float* const a = o.a;
  for (std::size_t done = 0; done < vectors;) {
    const std::size_t left = vectors - done;
    std::size_t count = 1;
    o.a = a + done / kGroupVectors * K::kGroupStride;
    if (left >= 4 && K::Simd::kTileVectors >= 4) {
      count = 4;
      if constexpr (K::Simd::kTileVectors >= 4) rows_product<K, 4>(rows, o);
    } else if (left >= 2 && K::Simd::kTileVectors >= 2) {
      count = 2;
      if constexpr (K::Simd::kTileVectors >= 2) rows_product<K, 2>(rows, o);
    } else {
      rows_product<K, 1>(rows, o);
    }
    done += count;
    o.b += count * vector_bytes<K::kType>();
    o.c += 16 * count;
    if constexpr (K::kInto == Into::scale || K::kInto == Into::add_scaled)
      o.scales += count * vector_bytes<KvType::f16>();
  }
}

}  // namespace
}  // namespace rotulus::kernels::cpu
