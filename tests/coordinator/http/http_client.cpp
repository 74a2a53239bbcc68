#include "tests/coordinator/http/http_client.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <stdexcept>
#include <utility>

namespace rotulus::coordinator::fakes {

HttpClient::HttpClient(std::uint16_t port, int receive_buffer_bytes) : socket_(::socket(AF_INET, SOCK_STREAM, 0)) {
  if (receive_buffer_bytes) {
    setsockopt(socket_, SOL_SOCKET, SO_RCVBUF, &receive_buffer_bytes, sizeof receive_buffer_bytes);
  }
  const timeval patience{.tv_sec = 20, .tv_usec = 0};
  setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  setsockopt(socket_, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (connect(socket_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    throw std::runtime_error("cannot connect to the server under test");
  }
}

HttpClient::~HttpClient() {
  ::close(socket_);
}

bool HttpClient::send(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return false;
    bytes.remove_prefix(static_cast<std::size_t>(sent));
  }
  return true;
}

void HttpClient::half_close() {
  ::shutdown(socket_, SHUT_WR);
}

bool HttpClient::fill() {
  char piece[65536];
  const ssize_t bytes = ::recv(socket_, piece, sizeof piece, 0);
  if (bytes <= 0) return false;
  received_.append(piece, static_cast<std::size_t>(bytes));
  return true;
}

std::string HttpClient::read_some() {
  if (received_.empty() && !fill()) return "";
  return std::exchange(received_, {});
}

bool HttpClient::is_closed_by_server() {
  while (true) {
    char piece[65536];
    const ssize_t bytes = ::recv(socket_, piece, sizeof piece, 0);
    if (bytes == 0) return true;
    if (bytes < 0) return errno == ECONNRESET;
  }
}

namespace {

std::string to_lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::tolower(c); });
  return text;
}

void parse_head(std::string_view head, Answer& answer) {
  std::from_chars(head.data() + 9, head.data() + 12, answer.status);
  while (true) {
    const std::size_t line = head.find("\r\n");
    if (line == std::string_view::npos) return;
    head.remove_prefix(line + 2);
    const std::size_t colon = head.find(": ");
    if (colon == std::string_view::npos) return;
    const std::string_view value = head.substr(colon + 2);
    answer.headers[to_lower(std::string(head.substr(0, colon)))] = std::string(value.substr(0, value.find("\r\n")));
  }
}

}  // namespace

Answer HttpClient::read_answer(bool has_body) {
  Answer answer;
  while (true) {
    std::size_t end = 0;
    while ((end = received_.find("\r\n\r\n")) == std::string::npos) {
      if (!fill()) return {};
    }
    parse_head(std::string_view(received_).substr(0, end + 2), answer);
    received_.erase(0, end + 4);
    if (answer.status != 100) break;
    answer = {};
  }
  if (!has_body) return answer;
  if (answer.headers.count("content-length")) {
    const std::size_t length = std::stoul(answer.headers["content-length"]);
    while (received_.size() < length && fill()) {
    }
    answer.body = received_.substr(0, length);
    received_.erase(0, length);
  } else if (answer.headers.count("transfer-encoding")) {
    while (true) {
      std::size_t line = 0;
      while ((line = received_.find("\r\n")) == std::string::npos) {
        if (!fill()) return answer;
      }
      const std::size_t length = std::stoul(received_.substr(0, line), nullptr, 16);
      while (received_.size() < line + 2 + length + 2) {
        if (!fill()) return answer;
      }
      answer.body += received_.substr(line + 2, length);
      received_.erase(0, line + 2 + length + 2);
      if (length == 0) break;
    }
  } else {
    while (fill()) {
    }
    answer.body = std::exchange(received_, {});
  }
  return answer;
}

Answer HttpClient::request(std::string_view method, std::string_view target, std::string_view body,
                           std::string_view headers) {
  std::string text = fmt::format("{} {} HTTP/1.1\r\nHost: localhost\r\n{}", method, target, headers);
  if (method != "GET" && method != "HEAD") text += fmt::format("Content-Length: {}\r\n", body.size());
  text += "\r\n";
  text += body;
  send(text);
  return read_answer(method != "HEAD");
}

Answer ask(std::uint16_t port, std::string_view method, std::string_view target, std::string_view body,
           std::string_view headers) {
  HttpClient client(port);
  return client.request(method, target, body, headers);
}

}  // namespace rotulus::coordinator::fakes
