#include "coordinator/http/gate.h"

#include <fmt/format.h>
#include <openssl/crypto.h>
#include <openssl/sha.h>

#include <algorithm>

namespace rotulus::coordinator::http {
namespace {

std::string to_lower(std::string_view text) {
  std::string lower(text);
  std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char c) { return std::tolower(c); });
  return lower;
}

// "[::1]:8080" -> "[::1]", "Localhost:80" -> "localhost"; nullopt where the port is no number.
std::optional<std::string> host_name(std::string_view authority) {
  const std::size_t bracket = authority.find(']');
  const std::size_t colon = authority.find(':', bracket == std::string_view::npos ? 0 : bracket);
  const std::string_view port = colon == std::string_view::npos ? "" : authority.substr(colon + 1);
  if (!std::all_of(port.begin(), port.end(), [](char c) { return c >= '0' && c <= '9'; })) return std::nullopt;
  return to_lower(authority.substr(0, colon));
}

bool is_loopback_name(const std::optional<std::string>& name) {
  return name == "localhost" || name == "127.0.0.1" || name == "[::1]";
}

std::array<unsigned char, 32> digest(std::string_view text) {
  std::array<unsigned char, 32> out{};
  SHA256(reinterpret_cast<const unsigned char*>(text.data()), text.size(), out.data());
  return out;
}

}  // namespace

Gate::Gate(const std::vector<std::string>& api_keys, bool is_loopback) : is_loopback_(is_loopback) {
  for (const std::string& key : api_keys) keys_.push_back(digest(key));
}

std::optional<ApiError> Gate::judge_origin(const HttpRequest& request) const {
  const std::string_view host = request.header("host");
  if (is_loopback_ && !(host.empty() && request.is_http_1_0) && !is_loopback_name(host_name(host))) {
    return http_error(403, "forbidden_host",
                      fmt::format("This server answers to localhost, 127.0.0.1 and [::1] only, not to the Host \"{}\".",
                                  host.substr(0, 100)));
  }
  if (request.header_count("origin") == 0) return std::nullopt;
  const std::string_view origin = request.header("origin");
  const std::size_t scheme = origin.find("://");
  const std::string authority = scheme == std::string_view::npos ? "" : to_lower(origin.substr(scheme + 3));
  if (!authority.empty() && authority == to_lower(host)) return std::nullopt;
  if (is_loopback_ && is_loopback_name(host_name(authority))) return std::nullopt;
  return http_error(403, "forbidden_origin",
                    fmt::format("Pages of the Origin \"{}\" may not use this server.", origin.substr(0, 100)));
}

bool Gate::has_key(const HttpRequest& request) const {
  if (keys_.empty()) return true;
  constexpr std::string_view kBearer = "bearer ";
  std::string_view given = request.header("authorization");
  const bool is_bearer = given.size() > kBearer.size() && to_lower(given.substr(0, kBearer.size())) == kBearer;
  given = is_bearer ? given.substr(kBearer.size()) : request.header("x-api-key");
  const Digest given_digest = digest(given);
  bool is_known = false;
  for (const Digest& key : keys_) is_known |= CRYPTO_memcmp(key.data(), given_digest.data(), key.size()) == 0;
  return is_known;
}

ApiError Gate::missing_key() const {
  return http_error(401, "invalid_api_key",
                    "This request needs a key of this server, as \"Authorization: Bearer KEY\" or \"x-api-key: KEY\".");
}

}  // namespace rotulus::coordinator::http
