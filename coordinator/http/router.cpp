#include "coordinator/http/router.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace rotulus::coordinator::http {
namespace {

constexpr std::size_t kShownPathBytes = 100;
constexpr std::string_view kPlaceholder = "{id}";

// The text that stands for {id} ("" in a pattern without), or nothing where the path is another's.
std::optional<std::string> match(std::string_view pattern, std::string_view path) {
  const std::size_t at = pattern.find(kPlaceholder);
  if (at == std::string_view::npos) return pattern == path ? std::optional<std::string>("") : std::nullopt;
  const std::string_view before = pattern.substr(0, at);
  const std::string_view after = pattern.substr(at + kPlaceholder.size());
  if (path.size() <= before.size() + after.size() || !path.starts_with(before) || !path.ends_with(after)) {
    return std::nullopt;
  }
  const std::string_view id = path.substr(before.size(), path.size() - before.size() - after.size());
  if (id.find('/') != std::string_view::npos) return std::nullopt;
  return std::string(id);
}

std::string_view shown(std::string_view path) {
  return path.substr(0, kShownPathBytes);
}

HttpResponse method_not_allowed(const HttpRequest& request, const std::vector<std::string_view>& allowed) {
  HttpResponse response =
      error_response(http_error(405, "method_not_allowed",
                                fmt::format("{} is not a method of {}; it takes {}.", request.method,
                                            shown(request.path), fmt::join(allowed, ", "))));
  response.headers.emplace_back("Allow", fmt::format("{}", fmt::join(allowed, ", ")));
  return response;
}

HttpResponse draining() {
  return error_response(
      http_error(503, "unavailable", "The server is shutting down and takes no new work; try again in a moment."));
}

}  // namespace

Handled Router::handle(Exchange& exchange, bool is_draining) const {
  const HttpRequest& request = exchange.request();
  const std::string_view method = request.method == "HEAD" ? "GET" : std::string_view(request.method);
  const Route* route = nullptr;
  std::string id;
  std::vector<std::string_view> allowed;
  for (const Route& candidate : routes_) {
    const auto matched = match(candidate.pattern, request.path);
    if (!matched) continue;
    allowed.push_back(candidate.method);
    if (candidate.method != method) continue;
    route = &candidate;
    id = *matched;
  }
  exchange.set_route(route ? route->pattern : "unknown");
  if (auto refusal = gate_.judge_origin(request)) co_return error_response(*refusal);
  if (!gate_.has_key(request) && !(route && route->is_open)) {
    if (route && route->without_key) co_return route->without_key();
    co_return error_response(gate_.missing_key());
  }
  if (!route && !allowed.empty()) co_return method_not_allowed(request, allowed);
  if (!route) {
    throw protocol::Error(protocol::ErrorCode::not_found, fmt::format("There is no route {}.", shown(request.path)));
  }
  if (route->is_work && is_draining) co_return draining();
  co_return co_await route->handler(exchange, std::move(id));
}

}  // namespace rotulus::coordinator::http
