#include "worker/model/gguf_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <iterator>
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

template <typename T>
std::optional<T> find_as(const std::map<std::string_view, GgufValue>& metadata, std::string_view key) {
  const auto found = metadata.find(key);
  if (found == metadata.end()) return std::nullopt;
  const auto* value = std::get_if<T>(&found->second);
  return value != nullptr ? std::optional(*value) : std::nullopt;
}

std::optional<std::uint64_t> find_count(const std::map<std::string_view, GgufValue>& metadata, std::string_view key) {
  if (const auto value = find_as<std::uint64_t>(metadata, key)) return value;
  const auto value = find_as<std::int64_t>(metadata, key);
  return value && *value >= 0 ? std::optional(static_cast<std::uint64_t>(*value)) : std::nullopt;
}

constexpr std::string_view kPart = "split.no";  // from 0
constexpr std::string_view kPartCount = "split.count";
constexpr std::string_view kTensorsOfAllParts = "split.tensors.count";

// What the name of a part ends with: "-00001-of-00003.gguf".
std::string part_ending(std::uint64_t part, std::uint64_t count) {
  return fmt::format("-{:05}-of-{:05}.gguf", part + 1, count);
}

}  // namespace

struct GgufFile::State {
  std::vector<Mapping> mappings;  // of all parts; none where the caller keeps the bytes
  GgufContent content;            // the metadata of the first part, the tensors of all
  std::map<std::string_view, const GgufTensor*> tensors_by_name;

  explicit State(std::span<const std::byte> bytes) : content(parse_gguf(bytes)) {}

  void add_other_parts(const std::filesystem::path& first);
  void index_tensors();
};

// A part holds tensors, and of metadata only what tells its place.
void GgufFile::State::add_other_parts(const std::filesystem::path& first) {
  const std::uint64_t count = find_count(content.metadata, kPartCount).value_or(1);
  if (count <= 1) return;
  const std::string name = first.string();
  const std::string ending = part_ending(0, count);
  if (!name.ends_with(ending)) {
    throw Error(ErrorCode::unsupported, fmt::format("metadata key {} tells of {} files, of which the first ends in "
                                                    "\"{}\"; name that one",
                                                    quote(kPartCount), count, ending));
  }
  for (std::uint64_t part = 1; part < count; ++part) {
    const std::string path = name.substr(0, name.size() - ending.size()) + part_ending(part, count);
    try {
      mappings.emplace_back(path);
      GgufContent other = parse_gguf(mappings.back().bytes());
      if (find_count(other.metadata, kPart) != part || find_count(other.metadata, kPartCount) != count) {
        throw Error(ErrorCode::malformed_file,
                    fmt::format("it does not say that it is part {} of {}", part + 1, count));
      }
      std::move(other.tensors.begin(), other.tensors.end(), std::back_inserter(content.tensors));
    } catch (const Error& error) {
      throw Error(error.code(), fmt::format("part {}: {}", path, error.message()));
    }
  }
  const std::uint64_t expected = find_count(content.metadata, kTensorsOfAllParts).value_or(content.tensors.size());
  if (content.tensors.size() != expected) {
    throw Error(ErrorCode::malformed_file,
                fmt::format("metadata key {} is {}; the {} parts have {} tensors", quote(kTensorsOfAllParts), expected,
                            count, content.tensors.size()));
  }
}

void GgufFile::State::index_tensors() {
  for (const GgufTensor& tensor : content.tensors) {
    if (tensors_by_name.emplace(tensor.name, &tensor).second) continue;
    throw Error(ErrorCode::malformed_file, fmt::format("tensor {} occurs in two parts", quote(tensor.name)));
  }
}

GgufFile::GgufFile(std::unique_ptr<State> state) : state_(std::move(state)) {}
GgufFile::GgufFile(GgufFile&&) noexcept = default;
GgufFile& GgufFile::operator=(GgufFile&&) noexcept = default;
GgufFile::~GgufFile() = default;

GgufFile GgufFile::open(const std::filesystem::path& path) {
  try {
    Mapping mapping(path);
    auto state = std::make_unique<State>(mapping.bytes());
    state->mappings.push_back(std::move(mapping));
    state->add_other_parts(path);
    state->index_tensors();
    return GgufFile(std::move(state));
  } catch (const Error& error) {
    throw Error(error.code(), fmt::format("model file {}: {}", path.string(), error.message()));
  }
}

GgufFile GgufFile::parse(std::span<const std::byte> bytes) {
  auto state = std::make_unique<State>(bytes);
  state->index_tensors();
  return GgufFile(std::move(state));
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

std::uint64_t GgufFile::bytes() const {
  std::uint64_t bytes = 0;
  for (const Mapping& mapping : state_->mappings) bytes += mapping.bytes().size();
  return bytes;
}

const GgufTensor* GgufFile::find_tensor(std::string_view name) const {
  const auto found = state_->tensors_by_name.find(name);
  return found == state_->tensors_by_name.end() ? nullptr : found->second;
}

std::optional<std::string_view> GgufFile::find_string(std::string_view key) const {
  return find_as<std::string_view>(metadata(), key);
}

std::optional<std::uint64_t> GgufFile::find_unsigned(std::string_view key) const {
  return find_count(metadata(), key);
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
  return find_as<bool>(metadata(), key);
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
