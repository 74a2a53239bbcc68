// One connection: reads requests, hands each to the router, writes what it answers, and sees to it that every stage
// has a limit of time and of bytes. The only place that knows the parser.
#pragma once

#include <chrono>
#include <functional>
#include <memory>

#include "coordinator/http/exchange.h"

#include <boost/asio/ip/tcp.hpp>

namespace rotulus::coordinator {
struct HttpConfig;
}

namespace rotulus::coordinator::http {

// What a connection asks of its server.
class SessionHost {
 public:
  virtual ~SessionHost() = default;
  virtual awaitable<std::optional<HttpResponse>> handle(Exchange& exchange) = 0;
  virtual void on_request_begins() = 0;
  virtual void on_request_ends(std::string_view route, unsigned status) = 0;
  virtual bool is_draining() const = 0;
};

class Session {
 public:
  virtual ~Session() = default;
  virtual awaitable<void> run() = 0;  // until the connection is closed; does not throw
  virtual bool is_idle() const = 0;   // between requests
  virtual void close() = 0;
};

std::shared_ptr<Session> make_session(boost::asio::ip::tcp::socket socket, std::shared_ptr<SessionHost> host,
                                      const HttpConfig& config);

}  // namespace rotulus::coordinator::http
