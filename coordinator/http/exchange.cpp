#include "coordinator/http/exchange.h"

#include <algorithm>

namespace rotulus::coordinator::http {

std::string_view HttpRequest::header(std::string_view lower_case_name) const {
  for (const auto& [name, value] : headers) {
    if (name == lower_case_name) return value;
  }
  return {};
}

std::size_t HttpRequest::header_count(std::string_view lower_case_name) const {
  return static_cast<std::size_t>(std::count_if(headers.begin(), headers.end(),
                                                [&](const auto& header) { return header.first == lower_case_name; }));
}

HttpResponse json_response(std::string body, unsigned status) {
  HttpResponse response;
  response.status = status;
  response.body = std::move(body);
  return response;
}

HttpResponse error_response(const ApiError& error) {
  HttpResponse response = json_response(to_json(error), error.status);
  if (error.status == 401) response.headers.emplace_back("WWW-Authenticate", "Bearer");
  if (error.status == 503) response.headers.emplace_back("Retry-After", "2");
  if (error.status == 409 || error.status >= 500) {
    response.headers.emplace_back("X-Should-Retry", is_retryable(error) ? "true" : "false");
  }
  return response;
}

}  // namespace rotulus::coordinator::http
