// A GGUF file (v2 or v3), memory-mapped and checked: every length, count, offset, alignment and type is verified
// against the file's size before it is used, so that nothing read later can leave the file.
//
// A model may be split into parts, "…-00001-of-00003.gguf" and so on: opening the first opens all, which are then one
// file with the metadata of the first and the tensors of all.
//
// Threads: immutable after open; safe anywhere. Lifetime: views point into the mapping and die with the GgufFile.
// Errors:  Error{malformed_file} says what is wrong at which byte; Error{unsupported} names what we do not read;
//          Error{not_found, unavailable} where the file cannot be opened. A malformed file allocates at most 64 MiB.
// Trap:    a file that is cut short while it is mapped ends the process (SIGBUS): replace model files, never rewrite.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "worker/model/ggml_type.h"

namespace rotulus::worker {

using GgufArray = std::variant<std::vector<std::int64_t>, std::vector<std::uint64_t>, std::vector<double>,
                               std::vector<bool>, std::vector<std::string_view>>;
// Integers widen to 64 bit with their sign, floats to double.
using GgufValue = std::variant<std::int64_t, std::uint64_t, double, bool, std::string_view, GgufArray>;

struct GgufTensor {
  std::string_view name;
  GgmlType type{};
  std::vector<std::uint64_t> shape;  // as in the file: fastest dimension first; 1..4 dimensions
  std::span<const std::byte> bytes;  // exactly the tensor's size, inside the mapping
};

class GgufFile final {
 public:
  static GgufFile open(const std::filesystem::path& path);
  // Parses bytes that the caller keeps alive (tests, fuzzing).
  static GgufFile parse(std::span<const std::byte> bytes);
  GgufFile(GgufFile&&) noexcept;
  GgufFile& operator=(GgufFile&&) noexcept;
  ~GgufFile();

  std::uint32_t version() const;
  std::uint64_t bytes() const;  // of all parts on disk
  const std::map<std::string_view, GgufValue>& metadata() const;
  std::span<const GgufTensor> tensors() const;  // in file order, part after part
  const GgufTensor* find_tensor(std::string_view name) const;

  // Typed look-ups. `require_*` throw Error{malformed_file} naming the key when it is absent or of another type.
  std::optional<std::string_view> find_string(std::string_view key) const;
  std::optional<std::uint64_t> find_unsigned(std::string_view key) const;  // any non-negative integer
  std::optional<double> find_number(std::string_view key) const;           // any float or integer
  std::optional<bool> find_bool(std::string_view key) const;
  std::string_view require_string(std::string_view key) const;
  std::uint64_t require_unsigned(std::string_view key) const;
  double require_number(std::string_view key) const;

 private:
  struct State;
  explicit GgufFile(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace rotulus::worker
