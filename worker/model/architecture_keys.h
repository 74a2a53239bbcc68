// The metadata keys of a file in its architecture's name space ("llama.rope.freq_base"), read within their limits.
// Keys are named here without the name space ("rope.freq_base").
//
// Errors: Error{malformed_file} where a value is missing, of another kind or impossible; Error{unsupported} where it
// asks for what is not computed.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "worker/model/gguf_file.h"

namespace rotulus::worker {

class ArchitectureKeys final {
 public:
  // Borrows the file.
  ArchitectureKeys(const GgufFile& file, std::string_view architecture) : file_(file), prefix_(architecture) {
    prefix_ += '.';
  }

  const GgufFile& file() const { return file_; }
  std::string full_name(std::string_view key) const { return prefix_ + std::string(key); }
  bool contains(std::string_view key) const { return file_.metadata().contains(full_name(key)); }
  const std::string& prefix() const { return prefix_; }

  // 1 to 2^31 - 1; `absent` where there is no such key, which is an error without one.
  std::uint32_t count(std::string_view key, std::optional<std::uint32_t> absent = {}) const;
  // The same, or 0.
  std::uint32_t count_or_none(std::string_view key, std::uint32_t absent) const;
  // A finite number above 0.
  double positive(std::string_view key, std::optional<double> absent = {}) const;

  // Throw Error{unsupported} and Error{malformed_file} about a key.
  [[noreturn]] void refuse(std::string_view key, std::string_view asks_for, std::string_view way_out) const;
  [[noreturn]] void contradict(std::string_view key, std::string_view what) const;

 private:
  std::uint32_t count_from(std::uint64_t least, std::string_view key, std::optional<std::uint32_t> absent) const;

  const GgufFile& file_;
  std::string prefix_;
};

// Throws Error{unsupported}: "metadata key … asks for …, which is not supported; …".
[[noreturn]] void refuse_key(std::string_view full_name, std::string_view asks_for, std::string_view way_out);

}  // namespace rotulus::worker
