// Writes small GGUF files, true ones and, by overriding what a true writer would compute, lying ones.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace rotulus::testing {

// Value types as in the file.
enum class GgufType : std::uint32_t {
  u8,
  i8,
  u16,
  i16,
  u32,
  i32,
  f32,
  boolean,
  string,
  array,
  u64,
  i64,
  f64  // clang-format off
};  // clang-format on

class ByteWriter {
 public:
  template <typename T>
  ByteWriter& number(T value) {
    static_assert(std::is_arithmetic_v<T> || std::is_enum_v<T>);
    const auto* bytes = reinterpret_cast<const std::byte*>(&value);
    bytes_.insert(bytes_.end(), bytes, bytes + sizeof(T));
    return *this;
  }
  ByteWriter& string(std::string_view text) {
    number<std::uint64_t>(text.size());
    return raw(text);
  }
  ByteWriter& raw(std::string_view text) {
    const auto* bytes = reinterpret_cast<const std::byte*>(text.data());
    bytes_.insert(bytes_.end(), bytes, bytes + text.size());
    return *this;
  }
  ByteWriter& raw(const std::vector<std::byte>& bytes) {
    bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
    return *this;
  }
  ByteWriter& align(std::size_t alignment) {
    bytes_.resize((bytes_.size() + alignment - 1) / alignment * alignment);
    return *this;
  }
  const std::vector<std::byte>& bytes() const { return bytes_; }

 private:
  std::vector<std::byte> bytes_;
};

struct GgufBuilder {
  struct Tensor {
    std::string name;
    std::vector<std::uint64_t> shape;  // fastest dimension first
    std::uint32_t type = 0;
    std::vector<std::byte> data;
    std::optional<std::uint64_t> offset = {};  // what the table says; by default the truth
  };

  std::string magic = "GGUF";
  std::uint32_t version = 3;
  std::optional<std::uint64_t> tensor_count;  // what the header says; by default the truth
  std::optional<std::uint64_t> key_count;
  std::size_t alignment = 32;  // of the data; add the key general.alignment where it is another
  std::vector<std::pair<std::string, std::vector<std::byte>>> entries;  // key, then value type and value as stored
  std::vector<Tensor> tensors;

  GgufBuilder& entry(std::string key, const ByteWriter& type_and_value) {
    entries.emplace_back(std::move(key), type_and_value.bytes());
    return *this;
  }
  template <typename T>
  GgufBuilder& number(std::string key, GgufType type, T value) {
    return entry(std::move(key), ByteWriter().number(type).number(value));
  }
  GgufBuilder& u32(std::string key, std::uint32_t value) { return number(std::move(key), GgufType::u32, value); }
  GgufBuilder& f32(std::string key, float value) { return number(std::move(key), GgufType::f32, value); }
  GgufBuilder& string(std::string key, std::string_view value) {
    return entry(std::move(key), ByteWriter().number(GgufType::string).string(value));
  }
  GgufBuilder& strings(std::string key, const std::vector<std::string>& values) {
    ByteWriter writer;
    writer.number(GgufType::array).number(GgufType::string).number<std::uint64_t>(values.size());
    for (const std::string& value : values) writer.string(value);
    return entry(std::move(key), writer);
  }
  GgufBuilder& tensor(Tensor tensor) {
    tensors.push_back(std::move(tensor));
    return *this;
  }
  // A tensor of zeros.
  GgufBuilder& zeros(std::string name, std::vector<std::uint64_t> shape, std::uint32_t type, std::size_t bytes) {
    return tensor({std::move(name), std::move(shape), type, std::vector<std::byte>(bytes)});
  }

  std::vector<std::byte> build() const {
    ByteWriter table;
    table.raw(magic).number(version);
    table.number<std::uint64_t>(tensor_count.value_or(tensors.size()));
    table.number<std::uint64_t>(key_count.value_or(entries.size()));
    for (const auto& [key, value] : entries) table.string(key).raw(value);
    ByteWriter data;
    for (const Tensor& tensor : tensors) {
      data.align(alignment);
      table.string(tensor.name).number(static_cast<std::uint32_t>(tensor.shape.size()));
      for (const std::uint64_t extent : tensor.shape) table.number(extent);
      table.number(tensor.type).number(tensor.offset.value_or(data.bytes().size()));
      data.raw(tensor.data);
    }
    if (!tensors.empty()) table.align(alignment);
    return table.raw(data.bytes()).bytes();
  }
};

}  // namespace rotulus::testing
