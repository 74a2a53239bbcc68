#include "kernels/cpu/kv_codec.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/cpu/kv_codes.h"

namespace rotulus::kernels::cpu {
namespace {

constexpr std::size_t kMaxGroups = kMaxHeadDim / kScaleChannels;

// One key or value on its way into a block: codes of element_bits() each (four bits: one a byte), and scales.
struct Encoded {
  alignas(4) std::byte codes[kMaxHeadDim * sizeof(float)];
  std::uint16_t scales[kMaxGroups];
};

// Rounds to nearest even by the addition; |x| < 2^22.
int nearest(float x) {
  return static_cast<int>(std::bit_cast<std::uint32_t>(x + 0x1.8p23f) - std::bit_cast<std::uint32_t>(0x1.8p23f));
}

// The codes of one group; its scale is returned.
std::uint16_t quantize(KvType type, const float* x, std::size_t count, std::byte* codes) {
  float largest = 0;
  bool is_finite = true;
  for (std::size_t i = 0; i < count; ++i) {
    largest = std::max(largest, std::abs(x[i]));
    is_finite &= std::abs(x[i]) <= std::numeric_limits<float>::max();
  }
  const float levels = type == KvType::int8 ? kInt8Levels : kInt4Levels;
  const float offset = type == KvType::int8 ? 0 : kInt4Levels;
  const float low = offset - levels;
  const float high = offset + levels;
  const std::uint16_t stored = is_finite ? float_to_f16(largest / levels) : float_to_f16(NAN);
  const float scale = f16_to_float(stored);
  const bool has_codes = scale > 0 && scale < std::numeric_limits<float>::infinity();
  for (std::size_t i = 0; i < count; ++i) {
    const float code = has_codes ? std::clamp(x[i] / scale + offset, low, high) : high;
    codes[i] = static_cast<std::byte>(nearest(code));
  }
  return stored;
}

std::uint16_t float_to_bf16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<std::uint16_t>(bits >> 16 | 0x40u);
  return static_cast<std::uint16_t>((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

void encode(const KernelTable& table, const KvFormat& format, const float* x, Encoded& into) {
  const std::size_t dim = format.head_dim;
  auto* const words = reinterpret_cast<std::uint16_t*>(into.codes);
  switch (format.type) {
    case KvType::f32:
      std::memcpy(into.codes, x, dim * sizeof(float));
      break;
    case KvType::f16:
      table.encode_f16(x, dim, words);
      break;
    case KvType::bf16:
      for (std::size_t d = 0; d < dim; ++d) words[d] = float_to_bf16(x[d]);
      break;
    case KvType::int8:
    case KvType::int4:
      for (std::uint32_t g = 0; g < format.groups(); ++g) {
        const std::size_t first = g * kScaleChannels;
        into.scales[g] =
            quantize(format.type, x + first, std::min<std::size_t>(kScaleChannels, dim - first), into.codes + first);
      }
      break;
  }
}

// Writes the codes of one token to every `stride` bytes from `to` on.
template <std::size_t kBytes>
void scatter(const std::byte* codes, std::size_t count, std::size_t stride, std::byte* to) {
  for (std::size_t d = 0; d < count; ++d) std::memcpy(to + d * stride, codes + d * kBytes, kBytes);
}

void put_nibble(std::byte code, CodePlace place, std::byte* row) {
  std::byte& byte = row[place.byte];
  byte = (byte & static_cast<std::byte>(0xf0u >> place.shift)) | code << place.shift;
}

void put_key(const KvFormat& format, const Encoded& key, std::uint32_t head, std::uint32_t token, std::byte* block) {
  const std::uint32_t panel = token / kPanelTokens;
  const std::uint32_t column = token % kPanelTokens;
  const std::size_t dim = format.head_dim;
  const std::size_t stride = format.key_row_bytes();
  std::byte* const rows = block + format.key_offset(head, panel);
  const CodePlace place = code_place(format.type, column);
  switch (element_bits(format.type)) {
    case 32:
      scatter<4>(key.codes, dim, stride, rows + place.byte);
      break;
    case 16:
      scatter<2>(key.codes, dim, stride, rows + place.byte);
      break;
    case 8:
      scatter<1>(key.codes, dim, stride, rows + place.byte);
      break;
    default:
      for (std::size_t d = 0; d < dim; ++d) put_nibble(key.codes[d], place, rows + d * stride);
  }
  auto* const scales = reinterpret_cast<std::uint16_t*>(block + format.key_scale_offset(head, panel));
  for (std::uint32_t g = 0; g < format.groups(); ++g) scales[g * kPanelTokens + column] = key.scales[g];
}

void put_value(const KvFormat& format, const Encoded& value, std::uint32_t head, std::uint32_t token,
               std::byte* block) {
  std::byte* const row = block + format.value_offset(head) + token * format.value_row_bytes();
  if (format.type == KvType::int4) {
    for (std::size_t d = 0; d < format.head_dim; ++d) put_nibble(value.codes[d], code_place(format.type, d), row);
  } else {
    std::memcpy(row, value.codes, format.value_row_bytes());
  }
  auto* const scales = reinterpret_cast<std::uint16_t*>(block + format.value_scale_offset(head));
  for (std::uint32_t g = 0; g < format.groups(); ++g) scales[g * kBlockTokens + token] = value.scales[g];
}

}  // namespace

void store_rows(const KernelTable& table, const KvFormat& format, ConstMatrix keys, ConstMatrix values,
                std::uint32_t first_row, std::byte* block) {
  Encoded encoded;
  for (std::size_t i = 0; i < keys.rows; ++i) {
    const auto token = static_cast<std::uint32_t>(first_row + i);
    for (std::uint32_t head = 0; head < format.kv_heads; ++head) {
      encode(table, format, keys.row(i) + std::size_t{head} * format.head_dim, encoded);
      put_key(format, encoded, head, token, block);
      encode(table, format, values.row(i) + std::size_t{head} * format.head_dim, encoded);
      put_value(format, encoded, head, token, block);
    }
  }
}

void load_key(const KvFormat& format, const std::byte* block, std::uint32_t head, std::uint32_t token, float* key) {
  const std::uint32_t panel = token / kPanelTokens;
  const std::uint32_t column = token % kPanelTokens;
  const std::byte* const codes = block + format.key_offset(head, panel);
  const std::byte* const scales = block + format.key_scale_offset(head, panel);
  for (std::size_t d = 0; d < format.head_dim; ++d) {
    key[d] = decode_code(format.type, codes + d * format.key_row_bytes(), column);
    if (has_scales(format.type)) key[d] *= decode_kv_scale(scales, d / kScaleChannels * kPanelTokens + column);
  }
}

void load_value(const KvFormat& format, const std::byte* block, std::uint32_t head, std::uint32_t token, float* value) {
  const std::byte* const codes = block + format.value_offset(head) + token * format.value_row_bytes();
  const std::byte* const scales = block + format.value_scale_offset(head);
  for (std::size_t d = 0; d < format.head_dim; ++d) {
    value[d] = decode_code(format.type, codes, d);
    if (has_scales(format.type)) value[d] *= decode_kv_scale(scales, d / kScaleChannels * kBlockTokens + token);
  }
}

}  // namespace rotulus::kernels::cpu
