// HTTP/1.1 to one server: a request, and its answer whole or piece by piece as it arrives.
//
// Each request has a connection of its own, which ends with it: closing it early is how a running answer is cancelled.
//
// Threads: blocks the caller; use one object per thread. Deadlines: connecting takes at most 5 s; `silence` bounds the
// wait for the next byte in either direction. Errors: Error{unavailable} where the server cannot be reached or falls
// silent; an answer other than 2xx is thrown with the message of its error object and the nearest code.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace rotulus::client {

struct Url {
  std::string host;
  std::string port;
  std::string path;  // without a slash at its end; "" at the root
  bool operator==(const Url&) const = default;
};

// http://HOST[:PORT][/PATH]; throws Error{invalid_argument} otherwise. An IPv6 host stands in brackets.
Url parse_url(std::string_view text);

// Bytes of a query parameter or path segment, percent-encoded.
std::string percent_encode(std::string_view text);

// A body that need not be in memory: `next` gives the next piece, empty at the end, valid until the next call.
struct BodySource {
  std::function<std::string_view()> next;
  std::optional<std::uint64_t> bytes;  // where known; sent in chunks otherwise
};

struct Request {
  std::string method = "GET";
  std::string target;  // path and query, percent-encoded
  std::string content_type;
  std::string body;
  std::optional<BodySource> streamed_body;  // in place of `body`
};

class HttpClient final {
 public:
  HttpClient(Url server, std::string api_key) : server_(std::move(server)), api_key_(std::move(api_key)) {}

  // The body of the answer.
  std::string send(const Request& request, std::chrono::seconds silence = std::chrono::seconds(600)) const;

  // Hands the answer on as it arrives. `sink` returns false to end it there.
  using Sink = std::function<bool(std::string_view)>;
  void stream(const Request& request, const Sink& sink, std::chrono::seconds silence = std::chrono::seconds(60)) const;

 private:
  Url server_;
  std::string api_key_;
};

}  // namespace rotulus::client
