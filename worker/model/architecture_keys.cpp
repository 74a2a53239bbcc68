#include "worker/model/architecture_keys.h"

#include <cmath>
#include <limits>

#include "protocol/error.h"
#include "worker/model/gguf_parser.h"

namespace rotulus::worker {

using protocol::Error;
using protocol::ErrorCode;

namespace {

constexpr std::uint64_t kMaxCount = std::numeric_limits<std::int32_t>::max();

}  // namespace

void refuse_key(std::string_view full_name, std::string_view asks_for, std::string_view way_out) {
  throw Error(ErrorCode::unsupported, fmt::format("metadata key {} asks for {}, which is not supported; {}",
                                                  quote(full_name), asks_for, way_out));
}

void ArchitectureKeys::refuse(std::string_view key, std::string_view asks_for, std::string_view way_out) const {
  refuse_key(full_name(key), asks_for, way_out);
}

void ArchitectureKeys::contradict(std::string_view key, std::string_view what) const {
  throw Error(ErrorCode::malformed_file, fmt::format("metadata key {} is {}", quote(full_name(key)), what));
}

std::uint32_t ArchitectureKeys::count(std::string_view key, std::optional<std::uint32_t> absent) const {
  return count_from(1, key, absent);
}

std::uint32_t ArchitectureKeys::count_or_none(std::string_view key, std::uint32_t absent) const {
  return count_from(0, key, absent);
}

std::uint32_t ArchitectureKeys::count_from(std::uint64_t least, std::string_view key,
                                           std::optional<std::uint32_t> absent) const {
  const auto entry = file_.metadata().find(full_name(key));
  if (entry == file_.metadata().end() && absent) return *absent;
  if (entry != file_.metadata().end() && std::holds_alternative<GgufArray>(entry->second)) {
    refuse(key, "another number in each layer", "use a model whose layers are alike");
  }
  const std::uint64_t value = file_.require_unsigned(full_name(key));
  if (value < least || value > kMaxCount) {
    contradict(key, fmt::format("{}; {} to {} are possible", value, least, kMaxCount));
  }
  return static_cast<std::uint32_t>(value);
}

double ArchitectureKeys::positive(std::string_view key, std::optional<double> absent) const {
  const double value = absent && !contains(key) ? *absent : file_.require_number(full_name(key));
  if (!std::isfinite(value) || value <= 0) contradict(key, fmt::format("{}; a positive number is needed", value));
  return value;
}

}  // namespace rotulus::worker
