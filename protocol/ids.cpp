#include "protocol/ids.h"

#include <charconv>

namespace rotulus::protocol {

std::string to_string(ContextId id) {
  return fmt::format("ctx_{:016x}", id.value);
}

std::optional<ContextId> parse_context_id(std::string_view text) {
  if (text.size() != 20 || text.substr(0, 4) != "ctx_") return std::nullopt;
  std::uint64_t value = 0;
  const char* end = text.data() + text.size();
  auto [rest, error] = std::from_chars(text.data() + 4, end, value, 16);
  if (error != std::errc{} || rest != end || value == 0) return std::nullopt;
  const ContextId id{value};
  if (to_string(id) != text) return std::nullopt;  // only the canonical spelling names a context
  return id;
}

}  // namespace rotulus::protocol
