#include "coordinator/http/session.h"

#include <fmt/format.h>
#include <openssl/rand.h>
#include <poll.h>

#include <algorithm>
#include <ctime>
#include <exception>

#include "coordinator/http/server.h"
#include "protocol/limits.h"

#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/error.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/buffer_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>

namespace rotulus::coordinator::http {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
using boost::system::error_code;
using boost::system::system_error;
using protocol::Error;
using protocol::ErrorCode;
using std::chrono::milliseconds;
using std::chrono::steady_clock;
using namespace std::chrono_literals;

constexpr std::size_t kBufferBytes = 64u << 10;          // of the parser
constexpr std::size_t kPieceBytes = 256u << 10;          // of a body
constexpr std::size_t kSendBufferBytes = 256u << 10;     // of the kernel: what a client that does not read may cost
constexpr std::uint64_t kDiscardedBytes = 64u << 10;     // of an unread body, to keep the connection
constexpr std::uint64_t kLingerBytes = 256u << 20;       // of an unread body, so that the answer is read at all
constexpr auto kBodyGrace = 60s;                         // a body may take this long …
constexpr std::uint64_t kBodyBytesPerSecond = 1u << 10;  // … and a second more for each KiB
constexpr std::size_t kMaxRequestIdBytes = 128;

std::string draw_request_id() {
  unsigned char bytes[12];
  RAND_bytes(bytes, sizeof bytes);
  std::string id = "req_";
  for (const unsigned char byte : bytes) id += fmt::format("{:02x}", byte);
  return id;
}

bool is_request_id(std::string_view text) {
  return !text.empty() && text.size() <= kMaxRequestIdBytes &&
         std::all_of(text.begin(), text.end(), [](char c) { return c > 0x20 && c < 0x7F; });
}

std::string http_date() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&now, &parts);
  char text[40];
  std::strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", &parts);
  return text;
}

// What is said of bytes that are not a request.
ApiError malformed(const error_code& code) {
  using beast::http::error;
  if (code == error::header_limit || code == error::buffer_overflow) {
    return http_error(431, "header_too_large",
                      fmt::format("The request header is longer than {} bytes.", protocol::kMaxHeaderBytes));
  }
  if (code == error::bad_version) {
    return http_error(505, "http_version_not_supported", "This server speaks HTTP/1.1 and HTTP/1.0.");
  }
  if (code == error::body_limit) return http_error(413, "payload_too_large", "The request body is too long.");
  if (code == beast::error::timeout) return http_error(408, "request_timeout", "The request did not arrive in time.");
  if (code == error::partial_message) {
    return http_error(400, "malformed_request", "The connection was closed in the middle of the request.");
  }
  return http_error(400, "malformed_request",
                    fmt::format("This is not a well-formed HTTP request: {}.", code.message()));
}

bool is_protocol_error(const error_code& code) {
  return code == beast::error::timeout ||
         (code.category() == make_error_code(beast::http::error::bad_method).category() &&
          code != beast::http::error::end_of_stream);
}

class Connection final : public Session, public Exchange, public std::enable_shared_from_this<Connection> {
 public:
  Connection(asio::ip::tcp::socket socket, std::shared_ptr<SessionHost> host, const HttpConfig& config)
      : socket_(std::move(socket)),
        deadline_(socket_.get_executor()),
        host_(std::move(host)),
        config_(config),
        buffer_(kBufferBytes) {
    error_code ignored;
    socket_.set_option(asio::ip::tcp::no_delay(true), ignored);
    socket_.set_option(asio::socket_base::send_buffer_size(kSendBufferBytes), ignored);
  }

  awaitable<void> run() override;
  bool is_idle() const override { return is_idle_; }
  void close() override {
    error_code ignored;
    socket_.close(ignored);
  }

  const HttpRequest& request() const override { return request_; }
  void set_route(std::string_view pattern) override { route_ = pattern; }
  void limit_body(std::uint64_t max_bytes) override;
  awaitable<std::string_view> read_body() override;
  awaitable<void> begin_stream(std::string_view content_type) override;
  awaitable<void> write(std::string_view text) override;
  bool is_client_gone() override;
  void abort() override { close(); }

 private:
  using Parser = beast::http::request_parser<beast::http::buffer_body>;

  awaitable<bool> serve_one();
  awaitable<bool> wait_for_request();
  awaitable<bool> answer();
  void take_header();
  std::optional<ApiError> find_header_fault() const;
  awaitable<void> call_handler();
  awaitable<void> send(std::string_view text);
  awaitable<void> respond(const HttpResponse& response);
  std::string head(unsigned status, std::string_view content_type) const;
  bool can_go_on() const;
  awaitable<void> end_stream();
  awaitable<bool> discard_body();
  awaitable<void> linger();
  milliseconds body_patience() const;
  void allow(milliseconds duration);
  void judge_lateness(error_code& code) const;

  asio::ip::tcp::socket socket_;
  asio::steady_timer deadline_;  // of the operation on the socket that is under way
  bool is_late_ = false;
  const std::shared_ptr<SessionHost> host_;  // connections outlive the server's owner until they notice
  const HttpConfig& config_;                 // the host's
  beast::flat_buffer buffer_;
  std::optional<Parser> parser_;

  bool is_idle_ = true;
  bool has_served_ = false;

  // Of the request being answered.
  HttpRequest request_;
  std::string route_;
  unsigned status_ = 0;
  bool goes_on_ = false;  // the connection lives after this answer
  bool expects_continue_ = false;
  bool is_streaming_ = false;
  std::optional<ApiError> fault_;         // of the bytes themselves: answered, then closed
  std::optional<HttpResponse> response_;  // of the handler
  std::string piece_;
  std::uint64_t body_limit_ = 0;
  std::uint64_t body_bytes_ = 0;
  steady_clock::time_point body_began_;
};

// The next operation on the socket ends with an error when it takes longer.
void Connection::allow(milliseconds duration) {
  is_late_ = false;
  deadline_.expires_after(duration);
  deadline_.async_wait([weak = weak_from_this()](const error_code& code) {
    const auto self = weak.lock();
    // A wait that had ended when the next operation began must not end that one.
    if (code || !self || self->deadline_.expiry() > steady_clock::now()) return;
    self->is_late_ = true;
    error_code ignored;
    self->socket_.cancel(ignored);
  });
}

void Connection::judge_lateness(error_code& code) const {
  if (code == asio::error::operation_aborted && is_late_) code = beast::error::timeout;
}

awaitable<void> Connection::run() {
  try {
    bool goes_on = true;
    while (goes_on) goes_on = co_await serve_one();
    co_await linger();
  } catch (const system_error&) {  // the client is gone, or was too slow: there is nobody to tell
  }
  close();
}

awaitable<bool> Connection::serve_one() {
  request_ = {};
  route_ = "malformed";
  status_ = 499;  // as nginx counts a client that left before its answer
  expects_continue_ = is_streaming_ = goes_on_ = false;
  fault_.reset();
  response_.reset();
  body_bytes_ = 0;
  parser_.emplace();
  parser_->header_limit(protocol::kMaxHeaderBytes);
  parser_->body_limit(boost::none);

  if (!co_await wait_for_request()) co_return false;
  host_->on_request_begins();
  std::exception_ptr failure;
  bool goes_on = false;
  try {
    goes_on = co_await answer();
  } catch (...) {
    failure = std::current_exception();
  }
  host_->on_request_ends(route_, status_);
  is_idle_ = has_served_ = true;
  std::string().swap(piece_);
  if (failure) std::rethrow_exception(failure);
  co_return goes_on;
}

// Reads the header. False: the client left without asking anything more.
awaitable<bool> Connection::wait_for_request() {
  error_code code;
  if (buffer_.size() == 0) {
    allow(has_served_ ? config_.idle_timeout : config_.header_timeout);
    const std::size_t bytes =
        co_await socket_.async_read_some(buffer_.prepare(4096), asio::redirect_error(asio::use_awaitable, code));
    if (code) co_return false;
    buffer_.commit(bytes);
  }
  is_idle_ = false;
  allow(config_.header_timeout);
  co_await beast::http::async_read_header(socket_, buffer_, *parser_, asio::redirect_error(asio::use_awaitable, code));
  judge_lateness(code);
  if (code && !is_protocol_error(code)) co_return false;
  if (code) {
    fault_ = malformed(code);
  } else {
    take_header();
    fault_ = find_header_fault();
  }
  co_return true;
}

void Connection::take_header() {
  const auto& message = parser_->get();
  const std::string_view target = message.target();
  const std::size_t mark = target.find('?');
  request_.method = message.method_string();
  request_.path = target.substr(0, mark);
  if (mark != std::string_view::npos) request_.query = target.substr(mark + 1);
  request_.is_http_1_0 = message.version() == 10;
  for (const auto& field : message) {
    std::string name(field.name_string());
    std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
    request_.headers.emplace_back(std::move(name), std::string(field.value()));
  }
  const std::string_view given = request_.header("x-request-id");
  request_.id = is_request_id(given) ? std::string(given) : draw_request_id();
  body_limit_ = protocol::kMaxDocumentBytes;
  body_began_ = steady_clock::now();
}

// What the parser lets pass and two readers of the same bytes could understand in two ways.
std::optional<ApiError> Connection::find_header_fault() const {
  if (request_.headers.size() > protocol::kMaxHeaderFields) {
    return http_error(431, "header_too_large",
                      fmt::format("The request header has more than {} fields.", protocol::kMaxHeaderFields));
  }
  if (request_.header_count("content-length") > 1 || request_.header_count("transfer-encoding") > 1) {
    return http_error(400, "malformed_request", "Content-Length or Transfer-Encoding is given twice.");
  }
  if (request_.header_count("transfer-encoding") == 1 &&
      (!beast::iequals(request_.header("transfer-encoding"), "chunked") || request_.is_http_1_0)) {
    return http_error(501, "not_implemented", "The only Transfer-Encoding understood here is chunked, in HTTP/1.1.");
  }
  if (request_.header_count("host") > 1 || (request_.header_count("host") == 0 && !request_.is_http_1_0)) {
    return http_error(400, "malformed_request", "The header needs exactly one Host field.");
  }
  const std::string_view expect = request_.header("expect");
  if (!expect.empty() && !beast::iequals(expect, "100-continue")) {
    return http_error(417, "expectation_failed", "The only Expect understood here is 100-continue.");
  }
  return std::nullopt;
}

awaitable<bool> Connection::answer() {
  expects_continue_ = !request_.header("expect").empty() && !request_.is_http_1_0;
  if (!fault_) co_await call_handler();
  if (fault_) response_ = error_response(*fault_);
  if (response_) {
    co_await respond(*response_);
  } else if (is_streaming_) {
    co_await end_stream();
  }
  if (!goes_on_) co_return false;
  co_return co_await discard_body();
}

awaitable<void> Connection::call_handler() {
  try {
    response_ = co_await host_->handle(*this);
  } catch (const Error& error) {
    response_ = error_response(to_api_error(error));
  } catch (const system_error&) {
    throw;
  } catch (const std::exception& error) {
    response_ = error_response(http_error(500, "internal", fmt::format("This request failed: {}.", error.what())));
  }
  if (is_streaming_ && response_) {  // too late for an answer: the client sees the stream end early
    response_.reset();
    is_streaming_ = goes_on_ = false;
  }
}

void Connection::limit_body(std::uint64_t max_bytes) {
  body_limit_ = max_bytes;
  const auto length = parser_->content_length();
  if ((length && *length > max_bytes) || body_bytes_ > max_bytes) {
    throw Error(
        ErrorCode::payload_too_large,
        fmt::format("The request body is longer than {} bytes, the most that this request may have.", max_bytes));
  }
}

milliseconds Connection::body_patience() const {
  const auto allowed = kBodyGrace + std::chrono::seconds(body_bytes_ / kBodyBytesPerSecond);
  const auto spent = std::chrono::duration_cast<milliseconds>(steady_clock::now() - body_began_);
  return std::clamp<milliseconds>(allowed - spent, 1ms, config_.body_timeout);
}

awaitable<std::string_view> Connection::read_body() {
  if (std::exchange(expects_continue_, false)) co_await send("HTTP/1.1 100 Continue\r\n\r\n");
  piece_.resize(kPieceBytes);
  std::size_t filled = 0;
  while (!parser_->is_done() && filled < piece_.size()) {
    auto& body = parser_->get().body();
    body.data = piece_.data() + filled;
    body.size = piece_.size() - filled;
    allow(body_patience());
    error_code code;
    co_await beast::http::async_read_some(socket_, buffer_, *parser_, asio::redirect_error(asio::use_awaitable, code));
    judge_lateness(code);
    const std::size_t before = filled;
    filled = piece_.size() - body.size;
    body_bytes_ += filled - before;
    if (code && code != beast::http::error::need_buffer) {
      if (!is_protocol_error(code)) throw system_error(code);
      fault_ = malformed(code);
      throw Error(ErrorCode::invalid_argument, fault_->message);
    }
    limit_body(body_limit_);
  }
  co_return std::string_view(piece_.data(), filled);
}

awaitable<void> Connection::send(std::string_view text) {
  allow(config_.write_timeout);
  co_await asio::async_write(socket_, asio::buffer(text.data(), text.size()), asio::use_awaitable);
}

bool Connection::can_go_on() const {
  if (fault_ || !parser_->keep_alive() || host_->is_draining()) return false;
  if (parser_->is_done()) return true;
  const auto remaining = parser_->content_length_remaining();
  return !expects_continue_ && remaining && *remaining <= kDiscardedBytes;
}

std::string Connection::head(unsigned status, std::string_view content_type) const {
  const auto reason = beast::http::obsolete_reason(static_cast<beast::http::status>(status));
  std::string text = fmt::format("HTTP/1.1 {} {}\r\nDate: {}\r\n", status, std::string_view(reason), http_date());
  if (!request_.id.empty()) text += fmt::format("X-Request-Id: {}\r\n", request_.id);
  if (!content_type.empty()) text += fmt::format("Content-Type: {}\r\n", content_type);
  text += "X-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\n";
  if (!goes_on_) {
    text += "Connection: close\r\n";
  } else if (request_.is_http_1_0) {
    text += "Connection: keep-alive\r\n";
  }
  return text;
}

awaitable<void> Connection::respond(const HttpResponse& response) {
  status_ = response.status;
  goes_on_ = can_go_on();
  std::string text = head(response.status, response.content_type);
  for (const auto& [name, value] : response.headers) text += fmt::format("{}: {}\r\n", name, value);
  text += fmt::format("Content-Length: {}\r\n\r\n", response.body.size());
  if (request_.method != "HEAD") text += response.body;
  co_await send(text);
}

awaitable<void> Connection::begin_stream(std::string_view content_type) {
  status_ = 200;
  goes_on_ = can_go_on() && !request_.is_http_1_0;
  is_streaming_ = true;
  std::string text = head(200, content_type);
  text += request_.is_http_1_0 ? "\r\n" : "Transfer-Encoding: chunked\r\n\r\n";
  co_await send(text);
}

awaitable<void> Connection::write(std::string_view text) {
  if (text.empty()) co_return;  // an empty chunk would end the stream
  if (request_.is_http_1_0) {
    co_await send(text);
    co_return;
  }
  const std::string chunk = fmt::format("{:x}\r\n{}\r\n", text.size(), text);
  co_await send(chunk);
}

awaitable<void> Connection::end_stream() {
  if (!request_.is_http_1_0) co_await send("0\r\n\r\n");
}

bool Connection::is_client_gone() {
  pollfd state{.fd = socket_.native_handle(), .events = POLLRDHUP, .revents = 0};
  return !socket_.is_open() || (poll(&state, 1, 0) > 0 && (state.revents & (POLLRDHUP | POLLHUP | POLLERR | POLLNVAL)));
}

// What is left of a small body is read away, so that the next request can follow on this connection.
awaitable<bool> Connection::discard_body() {
  bool is_clean = true;
  try {
    while (!parser_->is_done()) co_await read_body();
  } catch (const Error&) {  // already answered; a body that turns out to be malformed ends the connection
    is_clean = false;
  }
  co_return is_clean;
}

// Closing while bytes of the client are unread would reset the connection and take our answer with it: read them
// first, within limits.
awaitable<void> Connection::linger() {
  error_code code;
  socket_.shutdown(asio::ip::tcp::socket::shutdown_send, code);
  piece_.resize(kPieceBytes);
  const auto end = steady_clock::now() + config_.linger_timeout;
  for (std::uint64_t bytes = 0; !code && bytes < kLingerBytes;) {
    allow(std::clamp(std::chrono::duration_cast<milliseconds>(end - steady_clock::now()), 1ms, milliseconds(2s)));
    bytes += co_await socket_.async_read_some(asio::buffer(piece_), asio::redirect_error(asio::use_awaitable, code));
  }
}

}  // namespace

std::shared_ptr<Session> make_session(asio::ip::tcp::socket socket, std::shared_ptr<SessionHost> host,
                                      const HttpConfig& config) {
  return std::make_shared<Connection>(std::move(socket), std::move(host), config);
}

}  // namespace rotulus::coordinator::http
