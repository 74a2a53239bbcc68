#include "client/api/http_client.h"

#include <array>
#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <boost/json.hpp>

#include "protocol/error.h"

namespace rotulus::client {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using boost::system::error_code;
using protocol::Error;
using protocol::ErrorCode;

constexpr std::chrono::seconds kConnectTimeout{5};
constexpr std::size_t kPieceBytes = 64u << 10;

ErrorCode code_of(http::status status) {
  switch (status) {
    case http::status::unauthorized:
    case http::status::forbidden:
      return ErrorCode::unauthorized;
    case http::status::not_found:
      return ErrorCode::not_found;
    case http::status::conflict:
      return ErrorCode::conflict;
    case http::status::payload_too_large:
      return ErrorCode::payload_too_large;
    case http::status::insufficient_storage:
      return ErrorCode::storage_full;
    default:
      return http::to_status_class(status) == http::status_class::client_error ? ErrorCode::invalid_argument
                                                                               : ErrorCode::unavailable;
  }
}

// The error object of the API, or as much of another answer as helps.
Error error_of(http::status status, const std::string& body) {
  error_code not_json;
  auto value = boost::json::parse(body, not_json);
  if (!not_json && value.is_object()) {
    const auto* error = value.as_object().if_contains("error");
    const auto* message = error && error->is_object() ? error->as_object().if_contains("message") : nullptr;
    if (message && message->is_string()) return {code_of(status), std::string(message->as_string())};
  }
  return {code_of(status),
          fmt::format("the server answered {}: {}", static_cast<unsigned>(status), body.substr(0, 200))};
}

// One request on one connection. Operations are asynchronous inside only because Beast's deadlines need it.
class Exchange final {
 public:
  Exchange(const Url& server, std::chrono::seconds silence)
      : server_(fmt::format("http://{}:{}", server.host, server.port)), silence_(silence), stream_(loop_) {
    connect(server);
  }

  void send(const Request& request, const std::string& host, const std::string& path, const std::string& api_key) {
    http::request<http::buffer_body> message;
    message.method_string(request.method);
    message.target(path + request.target);
    message.version(11);
    message.set(http::field::host, host);
    message.set(http::field::user_agent, "rotulus");
    message.set(http::field::connection, "close");
    if (!api_key.empty()) message.set(http::field::authorization, "Bearer " + api_key);
    if (!request.content_type.empty()) message.set(http::field::content_type, request.content_type);

    bool sent_whole = false;
    BodySource source = request.streamed_body.value_or(BodySource{
        [&request, &sent_whole] { return std::exchange(sent_whole, true) ? std::string_view() : request.body; },
        request.body.size()});
    if (source.bytes)
      message.content_length(*source.bytes);
    else
      message.chunked(true);
    send_body(message, source);
  }

  // Reads the answer; true where it was a 2xx, whose body went to the sink.
  void receive(const HttpClient::Sink& sink) {
    http::response_parser<http::buffer_body> parser;
    parser.body_limit(boost::none);
    wait("reading the answer", [&](auto done) { http::async_read_header(stream_, buffer_, parser, done); });
    bool is_error = http::to_status_class(parser.get().result()) != http::status_class::successful;
    std::string error_body;
    auto error_sink = [&error_body](std::string_view piece) {
      error_body.append(piece);
      return error_body.size() < kPieceBytes;
    };
    read_body(parser, is_error ? HttpClient::Sink(error_sink) : sink);
    if (is_error) throw error_of(parser.get().result(), error_body);
  }

 private:
  void connect(const Url& server) {
    asio::ip::tcp::resolver resolver(loop_);
    error_code failure;
    auto addresses = resolver.resolve(server.host, server.port, failure);
    if (!failure) {
      stream_.expires_after(kConnectTimeout);
      failure = run([&](auto done) { stream_.async_connect(addresses, done); });
    }
    if (failure)
      throw Error(ErrorCode::unavailable, fmt::format("cannot reach {}: {}; is `rotulus serve` running, and is --url "
                                                      "right?",
                                                      server_, failure.message()));
  }

  // A server that refuses a long body answers before its end, so a body that cannot be sent on is no failure yet.
  void send_body(http::request<http::buffer_body>& message, const BodySource& source) {
    http::request_serializer<http::buffer_body> serializer(message);
    message.body().data = nullptr;
    message.body().more = true;
    wait("sending the request", [&](auto done) { http::async_write_header(stream_, serializer, done); });
    while (!serializer.is_done()) {
      std::string_view piece = source.next();
      message.body().data = piece.empty() ? nullptr : const_cast<char*>(piece.data());
      message.body().size = piece.size();
      message.body().more = !piece.empty();
      stream_.expires_after(silence_);
      error_code failure = run([&](auto done) { http::async_write(stream_, serializer, done); });
      if (failure == http::error::need_buffer) continue;
      if (failure == beast::error::timeout) throw_silence("sending the request", failure);
      if (failure || stream_.socket().available() > 0) return;
    }
  }

  void read_body(http::response_parser<http::buffer_body>& parser, const HttpClient::Sink& sink) {
    std::array<char, kPieceBytes> piece;
    while (!parser.is_done()) {
      parser.get().body().data = piece.data();
      parser.get().body().size = piece.size();
      stream_.expires_after(silence_);
      error_code failure = run([&](auto done) { http::async_read_some(stream_, buffer_, parser, done); });
      std::string_view got(piece.data(), piece.size() - parser.get().body().size);
      if (!got.empty() && !sink(got)) return;
      if (failure && failure != http::error::need_buffer) throw_silence("reading the answer", failure);
    }
  }

  template <typename Start>
  void wait(std::string_view what, Start start) {
    stream_.expires_after(silence_);
    if (error_code failure = run(start)) throw_silence(what, failure);
  }

  template <typename Start>
  error_code run(Start start) {
    error_code outcome;
    start([&outcome](error_code failure, auto&&...) { outcome = failure; });
    loop_.restart();
    loop_.run();
    return outcome;
  }

  [[noreturn]] void throw_silence(std::string_view what, error_code failure) const {
    std::string why = failure == beast::error::timeout ? fmt::format("nothing for {} s", silence_.count())
                      : failure == http::error::end_of_stream || failure == http::error::partial_message
                          ? "the server closed the connection"
                          : failure.message();
    throw Error(ErrorCode::unavailable, fmt::format("{}: {}: {}", server_, what, why));
  }

  std::string server_;
  std::chrono::seconds silence_;
  asio::io_context loop_;
  beast::tcp_stream stream_;
  beast::flat_buffer buffer_;
};

bool is_unreserved(char byte) {
  return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') || (byte >= '0' && byte <= '9') || byte == '-' ||
         byte == '.' || byte == '_' || byte == '~';
}

Error bad_url(std::string_view text) {
  return {ErrorCode::invalid_argument, fmt::format("\"{}\" is not http://HOST[:PORT][/PATH]", text), "url"};
}

}  // namespace

Url parse_url(std::string_view text) {
  constexpr std::string_view scheme = "http://";
  if (!text.starts_with(scheme)) throw bad_url(text);
  std::string_view rest = text.substr(scheme.size());
  auto slash = rest.find('/');
  std::string_view authority = rest.substr(0, slash);
  std::string_view path = slash == std::string_view::npos ? std::string_view() : rest.substr(slash);
  while (path.ends_with('/')) path.remove_suffix(1);

  std::string_view host = authority;
  std::string_view port = "80";
  auto host_end = authority.starts_with('[') ? authority.find(']') : 0;
  if (host_end == std::string_view::npos) throw bad_url(text);
  if (auto colon = authority.find(':', host_end); colon != std::string_view::npos) {
    host = authority.substr(0, colon);
    port = authority.substr(colon + 1);
  }
  if (host.starts_with('[')) host = host.substr(1, host.size() - 2);
  bool port_is_number = !port.empty() && port.size() <= 5 && port.find_first_not_of("0123456789") == port.npos;
  if (host.empty() || !port_is_number) throw bad_url(text);
  return {std::string(host), std::string(port), std::string(path)};
}

std::string percent_encode(std::string_view text) {
  std::string encoded;
  for (char byte : text)
    if (is_unreserved(byte))
      encoded.push_back(byte);
    else
      encoded += fmt::format("%{:02X}", static_cast<unsigned char>(byte));
  return encoded;
}

std::string HttpClient::send(const Request& request, std::chrono::seconds silence) const {
  std::string body;
  auto append = [&body](std::string_view piece) {
    body.append(piece);
    return true;
  };
  stream(request, append, silence);
  return body;
}

void HttpClient::stream(const Request& request, const Sink& sink, std::chrono::seconds silence) const {
  Exchange exchange(server_, silence);
  exchange.send(request, fmt::format("{}:{}", server_.host, server_.port), server_.path, api_key_);
  exchange.receive(sink);
}

}  // namespace rotulus::client
