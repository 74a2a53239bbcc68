#include "worker/model/gguf_parser.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <type_traits>
#include <utility>

#include "protocol/error.h"
#include "protocol/limits.h"

namespace rotulus::worker {
namespace {

using protocol::Error;
using protocol::ErrorCode;

constexpr std::uint64_t kDefaultAlignment = 32;
constexpr std::uint64_t kMinAlignment = 8;  // the specification asks for a multiple of 8; so every element is aligned
constexpr std::string_view kAlignmentKey = "general.alignment";
constexpr std::size_t kMaxKeyBytes = 65535;                     // as the specification says
constexpr std::size_t kMaxTensorNameBytes = 64;                 // as the specification says
constexpr std::size_t kMinKeyBytes = 8 + 1 + 4 + 1;             // length, name, type, value
constexpr std::size_t kMinTensorBytes = 8 + 1 + 4 + 8 + 4 + 8;  // length, name, n, one extent, type, offset

enum class ValueType : std::uint32_t {
  u8 = 0,
  i8 = 1,
  u16 = 2,
  i16 = 3,
  u32 = 4,
  i32 = 5,
  f32 = 6,
  boolean = 7,
  string = 8,
  array = 9,
  u64 = 10,
  i64 = 11,
  f64 = 12,
};

// The fewest bytes that a value of this type takes in the file; 0 for a number that is no type.
std::size_t least_bytes(ValueType type) {
  switch (type) {
    case ValueType::u8:
    case ValueType::i8:
    case ValueType::boolean:
      return 1;
    case ValueType::u16:
    case ValueType::i16:
      return 2;
    case ValueType::u32:
    case ValueType::i32:
    case ValueType::f32:
      return 4;
    case ValueType::u64:
    case ValueType::i64:
    case ValueType::f64:
    case ValueType::string:
      return 8;
    case ValueType::array:
      return 12;
  }
  return 0;
}

template <typename... Values>
[[noreturn]] void fail(ErrorCode code, std::size_t offset, fmt::format_string<Values...> format, Values&&... values) {
  throw Error(code, fmt::format("byte {}: {}", offset, fmt::format(format, std::forward<Values>(values)...)));
}

// Takes values off the front of the file, each after a look at what is left.
class Cursor final {
 public:
  explicit Cursor(std::span<const std::byte> bytes) : bytes_(bytes) {}

  std::size_t offset() const { return offset_; }
  std::size_t left() const { return bytes_.size() - offset_; }

  template <typename T>
  T read(std::string_view what) {
    static_assert(std::is_arithmetic_v<T>);
    T value;
    std::memcpy(&value, take(sizeof(T), what).data(), sizeof(T));
    return value;
  }

  std::string_view read_string(std::string_view what) {
    const auto length = read<std::uint64_t>(what);
    const auto bytes = take(length, what);
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }

 private:
  std::span<const std::byte> take(std::uint64_t count, std::string_view what) {
    if (count > left()) {
      fail(ErrorCode::malformed_file, offset_,
           "{} needs {} bytes, but the file has only {} left: it is cut short or "
           "corrupt",
           what, count, left());
    }
    const auto bytes = bytes_.subspan(offset_, count);
    offset_ += count;
    return bytes;
  }

  std::span<const std::byte> bytes_;
  std::size_t offset_ = 0;
};

class Parser final {
 public:
  explicit Parser(std::span<const std::byte> bytes) : bytes_(bytes), cursor_(bytes) {}

  GgufContent parse() && {
    read_header();
    for (std::uint64_t i = 0; i < key_count_; ++i) read_entry();
    content_.tensors.reserve(tensor_count_);
    claims_.reserve(tensor_count_);
    for (std::uint64_t i = 0; i < tensor_count_; ++i) read_tensor();
    place_tensors();
    return std::move(content_);
  }

 private:
  // What a tensor says about its place, until the start of the data is known.
  struct Claim {
    std::size_t entry = 0;  // byte of its table entry
    std::uint64_t offset = 0;
    std::uint64_t size = 0;
  };

  void read_header();
  void read_entry();
  GgufValue read_value(ValueType type, std::string_view what);
  GgufArray read_array(std::string_view what);
  template <typename Stored, typename Raw>
  GgufArray read_elements(std::uint64_t count, std::string_view what);
  bool read_bool(std::string_view what);
  void read_tensor();
  std::uint64_t tensor_bytes(const GgufTensor& tensor, std::size_t entry) const;
  void place_tensors();
  void refuse_overlaps(std::size_t data_start) const;

  std::span<const std::byte> bytes_;
  Cursor cursor_;
  std::uint64_t tensor_count_ = 0;
  std::uint64_t key_count_ = 0;
  std::size_t array_bytes_ = 0;  // allocated for arrays so far
  std::uint64_t alignment_ = kDefaultAlignment;
  std::vector<Claim> claims_;  // one per tensor
  GgufContent content_;
};

void Parser::read_header() {
  constexpr std::string_view kMagic = "GGUF";
  if (bytes_.size() < kMagic.size() || std::memcmp(bytes_.data(), kMagic.data(), kMagic.size()) != 0) {
    fail(ErrorCode::malformed_file, 0, "not a GGUF file: it does not begin with \"GGUF\"");
  }
  cursor_.read<std::uint32_t>("magic");
  const std::size_t at = cursor_.offset();
  content_.version = cursor_.read<std::uint32_t>("version");
  if (content_.version == 0) fail(ErrorCode::malformed_file, at, "GGUF version 0 does not exist");
  if ((content_.version & 0xffff) == 0) {
    fail(ErrorCode::unsupported, at, "a big-endian GGUF file; convert it to little-endian");
  }
  if (content_.version != 2 && content_.version != 3) {
    fail(ErrorCode::unsupported, at, "GGUF version {}; versions 2 and 3 are read: convert the file anew",
         content_.version);
  }
  const auto read_count = [this](std::string_view what, std::size_t least) {
    const std::size_t at = cursor_.offset();
    const auto count = cursor_.read<std::uint64_t>(what);
    if (count > cursor_.left() / least) {
      fail(ErrorCode::malformed_file, at, "{} {} cannot be true: {} bytes follow", what, count, cursor_.left());
    }
    if (count > protocol::kMaxGgufEntries) {
      fail(ErrorCode::unsupported, at, "{} {} is above the limit {}", what, count, protocol::kMaxGgufEntries);
    }
    return count;
  };
  tensor_count_ = read_count("tensor count", kMinTensorBytes);
  key_count_ = read_count("key count", kMinKeyBytes);
}

void Parser::read_entry() {
  const std::size_t at = cursor_.offset();
  const std::string_view key = cursor_.read_string("metadata key");
  if (key.empty()) fail(ErrorCode::malformed_file, at, "an empty metadata key");
  if (key.size() > kMaxKeyBytes) {
    fail(ErrorCode::malformed_file, at, "metadata key {} has {} bytes; {} are allowed", quote(key), key.size(),
         kMaxKeyBytes);
  }
  const std::string what = "metadata key " + quote(key);
  const auto type = ValueType{cursor_.read<std::uint32_t>(what)};
  if (key == kAlignmentKey && type != ValueType::u32) {
    fail(ErrorCode::malformed_file, at, "{} has value type {}; it must be u32", what, static_cast<std::uint32_t>(type));
  }
  GgufValue value = read_value(type, what);
  if (key == kAlignmentKey) {
    alignment_ = std::get<std::uint64_t>(value);
    if (alignment_ < kMinAlignment || (alignment_ & (alignment_ - 1)) != 0) {
      fail(ErrorCode::malformed_file, at, "{} is {}; it must be a power of two, {} or more", what, alignment_,
           kMinAlignment);
    }
  }
  if (!content_.metadata.emplace(key, std::move(value)).second) {
    fail(ErrorCode::malformed_file, at, "{} occurs twice", what);
  }
}

GgufValue Parser::read_value(ValueType type, std::string_view what) {
  switch (type) {
    case ValueType::u8:
      return std::uint64_t{cursor_.read<std::uint8_t>(what)};
    case ValueType::i8:
      return std::int64_t{cursor_.read<std::int8_t>(what)};
    case ValueType::u16:
      return std::uint64_t{cursor_.read<std::uint16_t>(what)};
    case ValueType::i16:
      return std::int64_t{cursor_.read<std::int16_t>(what)};
    case ValueType::u32:
      return std::uint64_t{cursor_.read<std::uint32_t>(what)};
    case ValueType::i32:
      return std::int64_t{cursor_.read<std::int32_t>(what)};
    case ValueType::f32:
      return double{cursor_.read<float>(what)};
    case ValueType::boolean:
      return read_bool(what);
    case ValueType::string:
      return cursor_.read_string(what);
    case ValueType::array:
      return read_array(what);
    case ValueType::u64:
      return cursor_.read<std::uint64_t>(what);
    case ValueType::i64:
      return cursor_.read<std::int64_t>(what);
    case ValueType::f64:
      return cursor_.read<double>(what);
  }
  fail(ErrorCode::malformed_file, cursor_.offset() - sizeof(ValueType), "{} has value type {}, which does not exist",
       what, static_cast<std::uint32_t>(type));
}

GgufArray Parser::read_array(std::string_view what) {
  const std::size_t at = cursor_.offset();
  const auto type = ValueType{cursor_.read<std::uint32_t>(what)};
  const auto count = cursor_.read<std::uint64_t>(what);
  if (least_bytes(type) == 0) {
    fail(ErrorCode::malformed_file, at, "{} has element type {}, which does not exist", what,
         static_cast<std::uint32_t>(type));
  }
  if (type == ValueType::array) fail(ErrorCode::unsupported, at, "{} is an array of arrays", what);
  if (count > cursor_.left() / least_bytes(type)) {
    fail(ErrorCode::malformed_file, at,
         "{} has {} elements, but only {} bytes are left: the file is cut short or "
         "corrupt",
         what, count, cursor_.left());
  }
  switch (type) {
    case ValueType::u8:
      return read_elements<std::uint64_t, std::uint8_t>(count, what);
    case ValueType::i8:
      return read_elements<std::int64_t, std::int8_t>(count, what);
    case ValueType::u16:
      return read_elements<std::uint64_t, std::uint16_t>(count, what);
    case ValueType::i16:
      return read_elements<std::int64_t, std::int16_t>(count, what);
    case ValueType::u32:
      return read_elements<std::uint64_t, std::uint32_t>(count, what);
    case ValueType::i32:
      return read_elements<std::int64_t, std::int32_t>(count, what);
    case ValueType::f32:
      return read_elements<double, float>(count, what);
    case ValueType::boolean:
      return read_elements<bool, bool>(count, what);
    case ValueType::string:
      return read_elements<std::string_view, std::string_view>(count, what);
    case ValueType::u64:
      return read_elements<std::uint64_t, std::uint64_t>(count, what);
    case ValueType::i64:
      return read_elements<std::int64_t, std::int64_t>(count, what);
    case ValueType::f64:
      return read_elements<double, double>(count, what);
    case ValueType::array:
      break;
  }
  CHECK(false, static_cast<std::uint32_t>(type));
  return {};
}

template <typename Stored, typename Raw>
GgufArray Parser::read_elements(std::uint64_t count, std::string_view what) {
  // `count` is at most the size of the file, so the product cannot overflow.
  array_bytes_ += count * sizeof(Stored);
  if (array_bytes_ > protocol::kMaxGgufArrayBytes) {
    fail(ErrorCode::unsupported, cursor_.offset(),
         "{}: with its {} elements the arrays of the file take {} bytes in "
         "memory; the limit is {}",
         what, count, array_bytes_, protocol::kMaxGgufArrayBytes);
  }
  std::vector<Stored> elements;
  elements.reserve(count);
  for (std::uint64_t i = 0; i < count; ++i) {
    if constexpr (std::is_same_v<Raw, std::string_view>) {
      elements.push_back(cursor_.read_string(what));
    } else if constexpr (std::is_same_v<Raw, bool>) {
      elements.push_back(read_bool(what));
    } else {
      elements.push_back(cursor_.read<Raw>(what));
    }
  }
  return elements;
}

bool Parser::read_bool(std::string_view what) {
  const std::size_t at = cursor_.offset();
  const auto value = cursor_.read<std::uint8_t>(what);
  if (value > 1) fail(ErrorCode::malformed_file, at, "{} is a bool of value {}", what, value);
  return value == 1;
}

void Parser::read_tensor() {
  const std::size_t at = cursor_.offset();
  GgufTensor tensor;
  tensor.name = cursor_.read_string("tensor name");
  const std::string what = "tensor " + quote(tensor.name);
  if (tensor.name.empty() || tensor.name.size() > kMaxTensorNameBytes) {
    fail(ErrorCode::malformed_file, at, "{} has a name of {} bytes; 1 to {} are allowed", what, tensor.name.size(),
         kMaxTensorNameBytes);
  }
  const auto dimensions = cursor_.read<std::uint32_t>(what);
  if (dimensions < 1 || dimensions > 4) {
    fail(ErrorCode::malformed_file, at, "{} has {} dimensions; 1 to 4 are allowed", what, dimensions);
  }
  for (std::uint32_t i = 0; i < dimensions; ++i) tensor.shape.push_back(cursor_.read<std::uint64_t>(what));
  tensor.type = GgmlType{cursor_.read<std::uint32_t>(what)};
  const auto offset = cursor_.read<std::uint64_t>(what);
  claims_.push_back({.entry = at, .offset = offset, .size = tensor_bytes(tensor, at)});
  content_.tensors.push_back(std::move(tensor));
}

std::uint64_t Parser::tensor_bytes(const GgufTensor& tensor, std::size_t entry) const {
  const std::string what = "tensor " + quote(tensor.name);
  const std::optional<GgmlTypeLayout> layout = find_layout(tensor.type);
  if (!layout) fail(ErrorCode::unsupported, entry, "{} has the unknown {}", what, to_string(tensor.type));
  for (const std::uint64_t extent : tensor.shape) {
    if (extent == 0) fail(ErrorCode::malformed_file, entry, "{} has a dimension of zero", what);
  }
  if (tensor.shape[0] % layout->block_elements != 0) {
    fail(ErrorCode::malformed_file, entry, "{} has rows of {} elements; {} needs a multiple of {}", what,
         tensor.shape[0], to_string(tensor.type), layout->block_elements);
  }
  std::uint64_t size = layout->block_bytes;
  bool overflows = __builtin_mul_overflow(size, tensor.shape[0] / layout->block_elements, &size);
  for (std::size_t i = 1; i < tensor.shape.size(); ++i) {
    overflows |= __builtin_mul_overflow(size, tensor.shape[i], &size);
  }
  if (overflows) {
    fail(ErrorCode::malformed_file, entry, "{} of shape [{}] is larger than any file", what,
         fmt::join(tensor.shape, ", "));
  }
  return size;
}

// Checks where each tensor says it lies, and gives it its bytes.
void Parser::place_tensors() {
  if (content_.tensors.empty()) return;
  // At most one alignment (< 2^32) beyond the end of the file: no overflow.
  const std::size_t data_start = (cursor_.offset() + alignment_ - 1) / alignment_ * alignment_;
  const std::size_t data_size = bytes_.size() > data_start ? bytes_.size() - data_start : 0;
  std::map<std::string_view, std::size_t> entries;
  for (std::size_t i = 0; i < claims_.size(); ++i) {
    const auto& [entry, offset, size] = claims_[i];
    GgufTensor& tensor = content_.tensors[i];
    const std::string what = "tensor " + quote(tensor.name);
    if (const auto [first, is_new] = entries.emplace(tensor.name, entry); !is_new) {
      fail(ErrorCode::malformed_file, entry, "{} occurs twice, first at byte {}", what, first->second);
    }
    if (offset % alignment_ != 0) {
      fail(ErrorCode::malformed_file, entry, "{} has offset {}, not a multiple of the alignment {}", what, offset,
           alignment_);
    }
    if (offset > data_size || size > data_size - offset) {
      fail(ErrorCode::malformed_file, entry,
           "{} of {} bytes at offset {} ends beyond the file's {} bytes of tensor "
           "data: it is cut short or corrupt",
           what, size, offset, data_size);
    }
    tensor.bytes = bytes_.subspan(data_start + offset, size);
  }
  refuse_overlaps(data_start);
}

void Parser::refuse_overlaps(std::size_t data_start) const {
  std::vector<const GgufTensor*> by_place;
  by_place.reserve(content_.tensors.size());
  for (const GgufTensor& tensor : content_.tensors) by_place.push_back(&tensor);
  std::sort(by_place.begin(), by_place.end(),
            [](const GgufTensor* a, const GgufTensor* b) { return a->bytes.data() < b->bytes.data(); });
  for (std::size_t i = 1; i < by_place.size(); ++i) {
    const GgufTensor& previous = *by_place[i - 1];
    const GgufTensor& next = *by_place[i];
    if (previous.bytes.data() + previous.bytes.size() > next.bytes.data()) {
      const auto offset = static_cast<std::size_t>(next.bytes.data() - bytes_.data());
      fail(ErrorCode::malformed_file, offset, "tensors {} and {} overlap (offset {} of the tensor data)",
           quote(previous.name), quote(next.name), offset - data_start);
    }
  }
}

}  // namespace

GgufContent parse_gguf(std::span<const std::byte> bytes) {
  return Parser(bytes).parse();
}

std::string quote(std::string_view text) {
  constexpr std::size_t kMaxShown = 80;
  std::string shown = "\"";
  for (const char c : text.substr(0, kMaxShown)) {
    const auto byte = static_cast<unsigned char>(c);
    const bool is_plain = byte >= 0x20 && byte < 0x7f && c != '"' && c != '\\';
    shown += is_plain ? std::string(1, c) : fmt::format("\\x{:02x}", byte);
  }
  shown += text.size() > kMaxShown ? "…\"" : "\"";
  return shown;
}

}  // namespace rotulus::worker
