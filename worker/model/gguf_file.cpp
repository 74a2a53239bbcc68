#include "worker/model/gguf_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>

#include "protocol/error.h"
#include "worker/model/gguf_parser.h"

namespace rotulus::worker {
namespace {

using protocol::Error;
using protocol::ErrorCode;

// A whole file, mapped read-only.
class Mapping final {
 public:
  Mapping() = default;
  explicit Mapping(const std::filesystem::path& path) {
    const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (file < 0) refuse(errno);
    struct stat status {};
    if (::fstat(file, &status) != 0 || !S_ISREG(status.st_mode) || status.st_size == 0) {
      ::close(file);
      throw Error(ErrorCode::malformed_file, "it is not a regular file, or it is empty");
    }
    size_ = static_cast<std::size_t>(status.st_size);
    data_ = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file, 0);
    const int error = errno;
    ::close(file);
    if (data_ == MAP_FAILED) refuse(error);
  }
  Mapping(Mapping&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  Mapping& operator=(Mapping&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~Mapping() {
    if (data_ != nullptr) ::munmap(data_, size_);
  }

  std::span<const std::byte> bytes() const { return {static_cast<const std::byte*>(data_), size_}; }

 private:
  [[noreturn]] static void refuse(int error) {
    throw Error(error == ENOENT ? ErrorCode::not_found : ErrorCode::unavailable, std::system_category().message(error));
  }

  void* data_ = nullptr;
  std::size_t size_ = 0;
};

template <typename T>
T require(std::optional<T> found, std::string_view key, const GgufFile& file, std::string_view kind) {
  if (found) return *found;
  throw Error(ErrorCode::malformed_file, file.metadata().contains(key)
                                             ? fmt::format("metadata key {} is not {}", quote(key), kind)
                                             : fmt::format("metadata key {} is missing", quote(key)));
}

}  // namespace

struct GgufFile::State {
  Mapping mapping;  // empty where the caller keeps the bytes
  GgufContent content;
  std::map<std::string_view, const GgufTensor*> tensors_by_name;

  State(Mapping mapping, std::span<const std::byte> bytes) : mapping(std::move(mapping)), content(parse_gguf(bytes)) {
    for (const GgufTensor& tensor : content.tensors) tensors_by_name.emplace(tensor.name, &tensor);
  }
};

GgufFile::GgufFile(std::unique_ptr<State> state) : state_(std::move(state)) {}
GgufFile::GgufFile(GgufFile&&) noexcept = default;
GgufFile& GgufFile::operator=(GgufFile&&) noexcept = default;
GgufFile::~GgufFile() = default;

GgufFile GgufFile::open(const std::filesystem::path& path) {
  try {
    Mapping mapping(path);
    const auto bytes = mapping.bytes();
    return GgufFile(std::make_unique<State>(std::move(mapping), bytes));
  } catch (const Error& error) {
    throw Error(error.code(), fmt::format("model file {}: {}", path.string(), error.message()));
  }
}

GgufFile GgufFile::parse(std::span<const std::byte> bytes) {
  return GgufFile(std::make_unique<State>(Mapping(), bytes));
}

std::uint32_t GgufFile::version() const {
  return state_->content.version;
}
const std::map<std::string_view, GgufValue>& GgufFile::metadata() const {
  return state_->content.metadata;
}
std::span<const GgufTensor> GgufFile::tensors() const {
  return state_->content.tensors;
}

const GgufTensor* GgufFile::find_tensor(std::string_view name) const {
  const auto found = state_->tensors_by_name.find(name);
  return found == state_->tensors_by_name.end() ? nullptr : found->second;
}

std::optional<std::string_view> GgufFile::find_string(std::string_view key) const {
  const auto found = metadata().find(key);
  if (found == metadata().end()) return std::nullopt;
  const auto* value = std::get_if<std::string_view>(&found->second);
  return value != nullptr ? std::optional(*value) : std::nullopt;
}

std::optional<std::uint64_t> GgufFile::find_unsigned(std::string_view key) const {
  const auto found = metadata().find(key);
  if (found == metadata().end()) return std::nullopt;
  if (const auto* value = std::get_if<std::uint64_t>(&found->second)) return *value;
  const auto* value = std::get_if<std::int64_t>(&found->second);
  return value != nullptr && *value >= 0 ? std::optional(static_cast<std::uint64_t>(*value)) : std::nullopt;
}

std::optional<double> GgufFile::find_number(std::string_view key) const {
  const auto found = metadata().find(key);
  if (found == metadata().end()) return std::nullopt;
  if (const auto* value = std::get_if<double>(&found->second)) return *value;
  if (const auto* value = std::get_if<std::uint64_t>(&found->second)) return static_cast<double>(*value);
  const auto* value = std::get_if<std::int64_t>(&found->second);
  return value != nullptr ? std::optional(static_cast<double>(*value)) : std::nullopt;
}

std::optional<bool> GgufFile::find_bool(std::string_view key) const {
  const auto found = metadata().find(key);
  if (found == metadata().end()) return std::nullopt;
  const auto* value = std::get_if<bool>(&found->second);
  return value != nullptr ? std::optional(*value) : std::nullopt;
}

std::string_view GgufFile::require_string(std::string_view key) const {
  return require(find_string(key), key, *this, "a string");
}

std::uint64_t GgufFile::require_unsigned(std::string_view key) const {
  return require(find_unsigned(key), key, *this, "a non-negative integer");
}

double GgufFile::require_number(std::string_view key) const {
  return require(find_number(key), key, *this, "a number");
}

}  // namespace rotulus::worker
