// The verbs that treat rows one by one: embed, norm, add, scale, soft_cap, silu_multiply, gelu_multiply, rotate,
// append.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/cpu/half.h"
#include "kernels/cpu/kv_codec.h"
#include "kernels/reference/reference.h"
#include "tests/kernels/fixtures.h"
#include "tests/support/tolerance.h"

namespace rotulus::kernels::tests {
namespace {

using rotulus::tests::elementwise;
using rotulus::tests::exact;
using rotulus::tests::reduction;

class Rows : public ::testing::TestWithParam<Isa> {
 protected:
  std::unique_ptr<Backend> backend_ = make_cpu_backend(GetParam(), 2);
  std::unique_ptr<Stream> stream_ = backend_->make_stream();
  Random random_{42};
};

TEST_P(Rows, EmbedReadsDequantizedRows) {
  for (const WeightType type : kWeightTypes) {
    const RandomWeight table = random_weight(type, 40, 512, random_);
    const reference::Table expected = reference::dequantize(table.source);
    const std::vector<std::uint32_t> ids{39, 0, 7, 7, 21};
    Dense y(ids.size(), 512);
    backend_->embed(*stream_, table.source, ids, y.view());
    for (std::size_t i = 0; i < ids.size(); ++i) {
      for (std::size_t k = 0; k < 512; ++k) {
        const double value = expected.row(ids[i])[k];
        ASSERT_NEAR(y.row(i)[k], value, elementwise(std::abs(value))) << to_string(type);
      }
    }
  }
}

// What a prefill product multiplies is what embed shows: a product with a row of the identity gives a column.
TEST_P(Rows, PrefillMultipliesTheDequantizedWeights) {
  for (const WeightType type : kWeightTypes) {
    const RandomWeight table = random_weight(type, 21, 256, random_);
    const auto packed = backend_->pack(table.source);
    Dense identity(256, 256);
    for (std::size_t k = 0; k < 256; ++k) identity.view().row(k)[k] = 1.0f;
    Dense columns(256, 21);
    backend_->matmul(*stream_, Role::prefill, *packed, identity.view(), columns.view());
    const reference::Table expected = reference::dequantize(table.source);
    for (std::size_t o = 0; o < 21; ++o) {
      for (std::size_t k = 0; k < 256; ++k) {
        const double value = expected.row(o)[k];
        ASSERT_NEAR(columns.row(k)[o], value, elementwise(std::abs(value) + 2.0)) << to_string(type);
      }
    }
  }
}

TEST_P(Rows, NormAgreesWithTheReference) {
  for (const std::size_t columns : {1u, 16u, 17u, 63u, 576u, 1000u}) {
    Dense x(5, columns, random_);
    const std::vector<float> weight = random_.normals(columns);
    const reference::Table expected = reference::norm(x.view(), weight, 1e-5f);
    const Dense before = x;
    Dense y(5, columns);
    backend_->norm(*stream_, before.view(), weight, 1e-5f, y.view());
    backend_->norm(*stream_, x.view(), weight, 1e-5f, x.view());  // may alias
    EXPECT_TRUE(exact<float>(x.values, y.values));
    for (std::size_t i = 0; i < 5; ++i) {
      for (std::size_t k = 0; k < columns; ++k) {
        ASSERT_NEAR(y.row(i)[k], expected.row(i)[k], reduction(columns, std::abs(expected.row(i)[k])));
      }
    }
  }
}

TEST_P(Rows, AddAddsAndSiluMultiplyAgreesWithTheReference) {
  for (const std::size_t columns : {1u, 15u, 16u, 1536u}) {
    Dense gate(3, columns, random_);
    for (float& value : gate.values) value *= 8;
    gate.values[0] = 90.0f;
    gate.values.back() = -110.0f;
    const Dense up(3, columns, random_);
    Dense y(3, columns);
    const ConstMatrix gate_view = gate.view();
    backend_->silu_multiply(*stream_, gate_view, up.view(), y.view());
    const reference::Table expected = reference::silu_multiply(gate_view, up.view());
    for (std::size_t i = 0; i < y.values.size(); ++i) {
      // A gate's exp has the relative error of its argument's rounding.
      const double magnitude = std::abs(expected.values[i]) * (1 + std::abs(gate.values[i]));
      ASSERT_NEAR(y.values[i], expected.values[i], elementwise(magnitude) + 1e-37) << gate.values[i];
    }
    Dense sum = y;
    backend_->add(*stream_, up.view(), sum.view());
    for (std::size_t i = 0; i < sum.values.size(); ++i) ASSERT_EQ(sum.values[i], y.values[i] + up.values[i]);
    backend_->silu_multiply(*stream_, gate_view, up.view(), gate.view());  // may alias
    EXPECT_TRUE(exact<float>(gate.values, y.values));
  }
}

TEST_P(Rows, GeluMultiplyAgreesWithTheReference) {
  for (const std::size_t columns : {1u, 15u, 16u, 2048u}) {
    Dense gate(3, columns, random_);
    for (float& value : gate.values) value *= 3;
    gate.values[0] = 90.0f;
    gate.values.back() = -110.0f;
    const Dense up(3, columns, random_);
    Dense y(3, columns);
    const ConstMatrix gate_view = gate.view();
    backend_->gelu_multiply(*stream_, gate_view, up.view(), y.view());
    const reference::Table expected = reference::gelu_multiply(gate_view, up.view());
    for (std::size_t i = 0; i < y.values.size(); ++i) {
      // As for silu; the exponent is about 1.6 g + 0.07 g^3.
      const double g = std::abs(gate.values[i]);
      const double magnitude = std::abs(expected.values[i]) * (1 + 2 * g + g * g * g / 7);
      ASSERT_NEAR(y.values[i], expected.values[i], elementwise(magnitude) + 1e-37) << gate.values[i];
    }
    backend_->gelu_multiply(*stream_, gate_view, up.view(), gate.view());  // may alias
    EXPECT_TRUE(exact<float>(gate.values, y.values));
  }
}

TEST_P(Rows, ScaleScalesAndAddRepeatsARowOfStrideZero) {
  const Dense x(5, 37, random_);
  const std::vector<float> bias = random_.normals(37);
  Dense y = x;
  backend_->scale(*stream_, 0.375f, y.view());
  for (std::size_t i = 0; i < y.values.size(); ++i) ASSERT_EQ(y.values[i], x.values[i] * 0.375f);
  backend_->add(*stream_, {bias.data(), 5, 37, 0}, y.view());
  for (std::size_t i = 0; i < y.values.size(); ++i) ASSERT_EQ(y.values[i], x.values[i] * 0.375f + bias[i % 37]);
}

TEST_P(Rows, SoftCapAgreesWithTheReference) {
  for (const std::size_t columns : {1u, 16u, 33u, 1000u}) {
    Dense x(3, columns, random_);
    for (std::size_t i = 0; i < x.values.size(); ++i) x.values[i] *= i % 3 == 0 ? 1e-3f : 40.0f;
    x.values.back() = -1e30f;
    const reference::Table expected = reference::soft_cap(30.0, x.view());
    backend_->soft_cap(*stream_, 30.0f, x.view());
    for (std::size_t i = 0; i < x.values.size(); ++i) {
      ASSERT_NEAR(x.values[i], expected.values[i], elementwise(std::abs(expected.values[i])));
    }
  }
}

TEST_P(Rows, RotateAgreesWithTheReferenceAtAnyPosition) {
  const std::vector<std::int64_t> positions{0, 1, 2, 127, 8191, 131072, 10000000, 1000000007, -3, -70000};
  for (const RopePairing pairing : {RopePairing::neighbours, RopePairing::halves}) {
    for (const std::uint32_t dims : {2u, 18u, 64u, 80u}) {
      Rope rope{.dims = dims, .base = 10000.0, .pairing = pairing};
      // Every other rope turns slower, each pair by another factor.
      for (std::uint32_t j = 0; dims % 4 == 0 && j < dims / 2; ++j) rope.divisors.push_back(1 + 0.37 * j);
      Dense x(positions.size(), 3 * 80, random_);
      const Dense before = x;
      backend_->rotate(*stream_, rope, 3, positions, x.view());
      for (std::size_t i = 0; i < positions.size(); ++i) {
        for (std::size_t h = 0; h < 3; ++h) {
          std::vector<double> head(before.row(i).begin() + h * 80, before.row(i).begin() + (h + 1) * 80);
          reference::rotate(rope, positions[i], head.data());
          for (std::size_t d = 0; d < 80; ++d) {
            // The angle itself carries the rounding of position * frequency in double.
            const double angle_error = 0x1p-51 * std::abs(static_cast<double>(positions[i]));
            ASSERT_NEAR(x.row(i)[h * 80 + d], head[d], elementwise(8.0) + 8 * angle_error) << positions[i];
          }
        }
      }
    }
  }
}

// How far a stored channel may lie from what was appended; `channels` are those that share its scale.
double most_error(KvType type, std::span<const float> channels, float value) {
  double largest = 0;
  for (const float channel : channels) largest = std::max(largest, double{std::abs(channel)});
  switch (type) {
    case KvType::f32:
      return 0;
    case KvType::f16:
      return std::abs(reference::decode_f16(cpu::float_to_f16(value)) - value);
    case KvType::bf16:
      return std::abs(value) * 0x1p-8;
    case KvType::int8:
      return largest * kMaxInt8Error + 0x1p-17;
    case KvType::int4:
      return largest * kMaxInt4Error + 0x1p-17;
  }
  return 0;
}

TEST_P(Rows, AppendStoresKeysAndValuesWithinTheErrorOfTheirType) {
  constexpr std::size_t kRows = 70;
  constexpr std::uint32_t kDim = 80;  // the last group is of 16 channels
  for (const KvType type : kKvTypes) {
    const KvFormat format{type, 3, kDim};
    Dense keys(kRows, 3 * kDim, random_);
    Dense values(kRows, 3 * kDim, random_);
    for (std::size_t i = 0; i < keys.values.size(); ++i) {
      const float size = std::exp2(static_cast<float>(random_.below(30)) - 18);  // some scales are subnormal
      keys.values[i] *= size;
      values.values[i] *= i % 7 == 0 ? 50.0f : 1.0f;
    }
    const auto block = backend_->allocate(format.block_bytes(), MemoryKind::host);
    // In three runs, one of them of a single row.
    std::uint32_t first = 50;
    for (const std::size_t count : {13u, 1u, 56u}) {
      backend_->append(*stream_, format, keys.rows_from(first - 50, count), values.rows_from(first - 50, count), first,
                       block->data());
      first += count;
    }
    std::vector<float> key(kDim);
    std::vector<float> value(kDim);
    for (std::uint32_t token = 0; token < kBlockTokens; ++token) {
      for (std::uint32_t head = 0; head < 3; ++head) {
        cpu::load_key(format, block->data(), head, token, key.data());
        cpu::load_value(format, block->data(), head, token, value.data());
        for (std::uint32_t d = 0; d < kDim; ++d) {
          ASSERT_EQ(reference::stored_key(format, block->data(), head, token, d), key[d]);
          ASSERT_EQ(reference::stored_value(format, block->data(), head, token, d), value[d]);
          if (token < 50 || token >= 120) {
            ASSERT_EQ(key[d], 0.0f);
            ASSERT_EQ(value[d], 0.0f);
            continue;
          }
          const std::size_t group = d / kScaleChannels * kScaleChannels;
          const std::size_t channels = std::min<std::size_t>(kScaleChannels, kDim - group);
          const auto expect_near = [&](std::span<const float> row, float stored) {
            const float given = row[head * kDim + d];
            ASSERT_NEAR(stored, given, most_error(type, row.subspan(head * kDim + group, channels), given))
                << to_string(type) << " " << token << " " << d;
          };
          expect_near(keys.row(token - 50), key[d]);
          expect_near(values.row(token - 50), value[d]);
        }
      }
    }
  }
}

TEST_P(Rows, AppendStoresATokenAsAFunctionOfThatTokenAlone) {
  for (const KvType type : kKvTypes) {
    const KvFormat format{type, 2, 48};
    const Dense keys(90, 96, random_);
    const Dense values(90, 96, random_);
    const auto together = backend_->allocate(format.block_bytes(), MemoryKind::host);
    const auto alone = backend_->allocate(format.block_bytes(), MemoryKind::host);
    backend_->append(*stream_, format, keys.view(), values.view(), 30, together->data());
    for (std::uint32_t i = 90; i-- > 0;) {  // in any order
      backend_->append(*stream_, format, keys.rows_from(i, 1), values.rows_from(i, 1), 30 + i, alone->data());
    }
    EXPECT_EQ(std::memcmp(together->data(), alone->data(), format.block_bytes()), 0) << to_string(type);
  }
}

TEST_P(Rows, AppendKeepsWhatIsNotFinite) {
  for (const KvType type : kKvTypes) {
    const KvFormat format{type, 1, 64};
    for (const float bad : {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
      Dense row(1, 64, random_);
      row.values[37] = bad;
      const auto block = backend_->allocate(format.block_bytes(), MemoryKind::host);
      backend_->append(*stream_, format, row.view(), row.view(), 77, block->data());
      for (std::uint32_t d = 0; d < 64; ++d) {
        const bool shares_scale = has_scales(type) && d >= 32;
        EXPECT_EQ(std::isfinite(reference::stored_key(format, block->data(), 0, 77, d)), d != 37 && !shares_scale);
        EXPECT_EQ(std::isfinite(reference::stored_value(format, block->data(), 0, 77, d)), d != 37 && !shares_scale);
      }
    }
  }
}

// Every row of the backend stores the same bits: a store written by one is read by another.
TEST_P(Rows, AppendRoundsToTheNearestF16InEveryIsaRow) {
  const KvFormat format{KvType::f16, 1, 16};
  const auto block = backend_->allocate(format.block_bytes(), MemoryKind::host);
  const auto check = [&](const std::vector<float>& sixteen) {
    const ConstMatrix row{sixteen.data(), 1, 16, 16};
    backend_->append(*stream_, format, row, row, 0, block->data());
    for (std::uint32_t d = 0; d < 16; ++d) {
      std::uint16_t bits;
      std::memcpy(&bits, block->data() + format.value_offset(0) + 2 * d, 2);
      ASSERT_EQ(bits, cpu::float_to_f16(sixteen[d])) << std::hexfloat << sixteen[d];
    }
  };
  std::vector<float> sixteen(16);
  // All halfway cases and their neighbours: every finite f16, and the floats around the middle of it and the next.
  for (std::uint32_t bits = 0; bits < 0x7c00; ++bits) {
    const double low = reference::decode_f16(static_cast<std::uint16_t>(bits));
    const double high = bits == 0x7bff ? 65536.0 : reference::decode_f16(static_cast<std::uint16_t>(bits + 1));
    const auto middle = static_cast<float>((low + high) / 2);
    const float cases[] = {static_cast<float>(low), middle, std::nextafter(middle, 0.0f), std::nextafter(middle, 1e9f)};
    const std::uint16_t even = bits % 2 == 0 ? bits : bits + 1;
    ASSERT_EQ(cpu::float_to_f16(middle), even);
    ASSERT_EQ(cpu::float_to_f16(cases[2]), bits);
    ASSERT_EQ(cpu::float_to_f16(cases[3]), bits + 1);
    for (std::size_t i = 0; i < 16; ++i) sixteen[i] = i < 8 ? cases[i % 4] : -cases[i % 4];
    check(sixteen);
  }
  const float infinity = std::numeric_limits<float>::infinity();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  check({infinity, -infinity, nan, -nan, 65519.99f, 65520.0f, -65520.0f, 1e38f, 1e-45f, -1e-45f, 0.0f, -0.0f, 1.0f,
         std::bit_cast<float>(0x7f800001u), std::bit_cast<float>(0xffc12345u), 6e-8f});
}

TEST(Half, DecodesEveryF16AsTheReferenceDoes) {
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto half = static_cast<std::uint16_t>(bits);
    const double expected = reference::decode_f16(half);
    if (std::isnan(expected)) {
      ASSERT_TRUE(std::isnan(cpu::f16_to_float(half)));
    } else {
      ASSERT_EQ(cpu::f16_to_float(half), expected) << bits;
      ASSERT_EQ(cpu::float_to_f16(cpu::f16_to_float(half)), half);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(EveryRow, Rows, ::testing::ValuesIn(supported_isas()), isa_name);

}  // namespace
}  // namespace rotulus::kernels::tests
