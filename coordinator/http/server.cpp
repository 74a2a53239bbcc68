#include "coordinator/http/server.h"

#include <fmt/format.h>

#include <ctime>
#include <unordered_set>

#include "coordinator/http/backends.h"
#include "coordinator/http/session.h"
#include "protocol/limits.h"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace rotulus::coordinator {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;
using protocol::Error;
using protocol::ErrorCode;

namespace {

std::vector<http::Route> all_routes(const http::Backends& backends) {
  std::vector<http::Route> routes;
  for (const auto& part : {http::contexts_routes(backends), http::openai_routes(backends), http::text_routes(backends),
                           http::system_routes(backends)}) {
    routes.insert(routes.end(), part.begin(), part.end());
  }
  return routes;
}

tcp::endpoint resolve(asio::io_context& loop, const HttpConfig& config) {
  error_code code;
  tcp::resolver resolver(loop);
  const auto found = resolver.resolve(config.host, std::to_string(config.port), tcp::resolver::passive, code);
  if (code || found.empty()) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("Cannot find the address \"{}\" to listen on: {}.", config.host, code.message()), "host");
  }
  const tcp::endpoint endpoint = found.begin()->endpoint();
  if (!endpoint.address().is_loopback() && config.api_keys.empty()) {
    throw Error(
        ErrorCode::invalid_argument,
        fmt::format("{} can be reached from other machines: give an API key, or listen on 127.0.0.1.", config.host),
        "api-key");
  }
  return endpoint;
}

}  // namespace

class HttpServer::Impl final : public http::SessionHost, public std::enable_shared_from_this<Impl> {
 public:
  Impl(asio::io_context& loop, asio::thread_pool& file_pool, HttpConfig config, Contexts& contexts, Queries& queries,
       Cluster& cluster, Metrics& metrics)
      : loop_(loop),
        config_(std::move(config)),
        metrics_(metrics),
        backends_{config_, file_pool, contexts, queries, cluster, metrics, is_draining_, std::time(nullptr)},
        acceptor_(loop) {}

  void start() {
    const tcp::endpoint endpoint = resolve(loop_, config_);
    error_code code;
    acceptor_.open(endpoint.protocol(), code);
    if (!code) acceptor_.set_option(tcp::acceptor::reuse_address(true), code);
    if (!code) acceptor_.bind(endpoint, code);
    if (!code) acceptor_.listen(asio::socket_base::max_listen_connections, code);
    if (code) {
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("Cannot listen on {}:{}: {}.", config_.host, config_.port, code.message()), "port");
    }
    port_ = acceptor_.local_endpoint().port();
    router_.emplace(http::Gate(config_.api_keys, endpoint.address().is_loopback()), all_routes(backends_));
    asio::co_spawn(loop_, accept(shared_from_this()), asio::detached);
  }

  std::uint16_t port() const { return port_; }
  std::size_t active_requests() const { return active_requests_; }
  void begin_drain() { is_draining_ = true; }

  void stop() {
    is_draining_ = true;
    error_code ignored;
    acceptor_.close(ignored);
    for (http::Session* session : sessions_) session->close();
  }

  http::Handled handle(http::Exchange& exchange) override { return router_->handle(exchange, is_draining_); }
  void on_request_begins() override { ++active_requests_; }
  void on_request_ends(std::string_view route, unsigned status) override {
    --active_requests_;
    metrics_.observe_http(route, static_cast<int>(status));
  }
  bool is_draining() const override { return is_draining_; }

 private:
  http::awaitable<void> accept(std::shared_ptr<Impl> self) {
    while (acceptor_.is_open()) {
      tcp::socket socket(loop_);
      error_code code;
      co_await acceptor_.async_accept(socket, asio::redirect_error(asio::use_awaitable, code));
      if (code == asio::error::operation_aborted) break;
      const bool is_full = sessions_.size() >= protocol::kMaxHttpConnections;
      if (code || is_full) make_room();
      if (code) {  // out of descriptors
        asio::steady_timer pause(loop_, std::chrono::milliseconds(20));
        co_await pause.async_wait(asio::redirect_error(asio::use_awaitable, code));
      } else if (!is_full) {
        asio::co_spawn(loop_, serve(self, std::move(socket)), asio::detached);
      }
    }
  }

  // Somebody who only holds a connection gives way; whoever was turned away for it finds room the next time.
  void make_room() {
    for (http::Session* session : sessions_) {
      if (session->is_idle()) return session->close();
    }
  }

  static http::awaitable<void> serve(std::shared_ptr<Impl> self, tcp::socket socket) {
    const std::shared_ptr<http::Session> session = http::make_session(std::move(socket), self, self->config_);
    const Listed listed(self->sessions_, session.get());
    co_await session->run();
  }

  struct Listed {
    Listed(std::unordered_set<http::Session*>& in, http::Session* session) : sessions(in), listed(session) {
      sessions.insert(listed);
    }
    ~Listed() { sessions.erase(listed); }
    Listed(const Listed&) = delete;
    std::unordered_set<http::Session*>& sessions;
    http::Session* listed;
  };

  asio::io_context& loop_;
  const HttpConfig config_;
  Metrics& metrics_;
  bool is_draining_ = false;
  const http::Backends backends_;
  tcp::acceptor acceptor_;
  std::uint16_t port_ = 0;
  std::optional<http::Router> router_;
  std::unordered_set<http::Session*> sessions_;
  std::size_t active_requests_ = 0;
};

HttpServer::HttpServer(asio::io_context& loop, asio::thread_pool& file_pool, HttpConfig config, Contexts& contexts,
                       Queries& queries, Cluster& cluster, Metrics& metrics)
    : impl_(std::make_shared<Impl>(loop, file_pool, std::move(config), contexts, queries, cluster, metrics)) {}
HttpServer::~HttpServer() {
  stop();
}

void HttpServer::start() {
  impl_->start();
}
std::uint16_t HttpServer::port() const {
  return impl_->port();
}
void HttpServer::begin_drain() {
  impl_->begin_drain();
}
std::size_t HttpServer::active_requests() const {
  return impl_->active_requests();
}
void HttpServer::stop() {
  impl_->stop();
}

}  // namespace rotulus::coordinator
