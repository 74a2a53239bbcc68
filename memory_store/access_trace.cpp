#include "memory_store/access_trace.h"

#include <fmt/format.h>

#include <sstream>
#include <string>

#include "protocol/error.h"

namespace rotulus::memory_store {

using protocol::Error;
using protocol::ErrorCode;

AccessTrace::AccessTrace(const std::filesystem::path& path) : file_(path) {
  if (!file_) throw Error(ErrorCode::unavailable, fmt::format("the trace {} cannot be written", path.string()));
}

void AccessTrace::write(std::span<const BlockAddress> pinned_together) {
  for (const BlockAddress& address : pinned_together) {
    file_ << address.object.value << ' ' << address.layer << ' ' << address.block << '\n';
  }
  file_ << '\n';
}

std::vector<std::vector<BlockAddress>> read_access_trace(const std::filesystem::path& path) {
  std::ifstream file(path);
  if (!file) throw Error(ErrorCode::unavailable, fmt::format("the trace {} cannot be read", path.string()));
  std::vector<std::vector<BlockAddress>> groups(1);
  std::size_t number = 0;
  for (std::string line; std::getline(file, line);) {
    ++number;
    if (line.empty()) {
      groups.emplace_back();
      continue;
    }
    std::istringstream words(line);
    BlockAddress address;
    if (!(words >> address.object.value >> address.layer >> address.block) || !words.eof()) {
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("{}, line {}: \"{}\" is no object, layer and block", path.string(), number, line));
    }
    groups.back().push_back(address);
  }
  if (groups.back().empty()) groups.pop_back();
  return groups;
}

}  // namespace rotulus::memory_store
