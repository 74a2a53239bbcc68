// One request and its answer, as handlers see them: no parser, no socket.
//
// A handler is a coroutine on the event loop. It returns the whole answer, or streams it (begin_stream, write…,
// nullopt). What it throws as protocol::Error before that is answered with an error object.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <boost/asio/awaitable.hpp>

#include "coordinator/http/errors.h"

namespace rotulus::coordinator::http {

using boost::asio::awaitable;

struct HttpRequest {
  std::string method;
  std::string path;                                          // as sent, not decoded
  std::string query;                                         // behind the '?', not decoded
  std::vector<std::pair<std::string, std::string>> headers;  // names in lower case
  std::string id;                                            // X-Request-Id, the client's or ours
  bool is_http_1_0 = false;

  std::string_view header(std::string_view lower_case_name) const;  // "" where absent
  std::size_t header_count(std::string_view lower_case_name) const;
};

struct HttpResponse {
  unsigned status = 200;
  std::string content_type = "application/json";
  std::string body;
  std::vector<std::pair<std::string, std::string>> headers;
};

HttpResponse json_response(std::string body, unsigned status = 200);
HttpResponse error_response(const ApiError& error);

class Exchange {
 public:
  virtual ~Exchange() = default;
  virtual const HttpRequest& request() const = 0;
  virtual void set_route(std::string_view pattern) = 0;  // what metrics count it under

  // Throws Error{payload_too_large} at once when the announced body is longer, and later when it turns out to be.
  virtual void limit_body(std::uint64_t max_bytes) = 0;
  // The next piece of at most 256 KiB, valid until the next call; empty at the end.
  virtual awaitable<std::string_view> read_body() = 0;

  virtual awaitable<void> begin_stream(std::string_view content_type) = 0;
  virtual awaitable<void> write(std::string_view text) = 0;
  virtual bool is_client_gone() = 0;
  virtual void abort() = 0;  // closes the connection; what waits on it fails
};

}  // namespace rotulus::coordinator::http
