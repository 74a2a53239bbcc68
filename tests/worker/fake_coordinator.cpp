#include "tests/worker/fake_coordinator.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <span>
#include <stdexcept>
#include <utility>
#include <vector>

#include "protocol/framing.h"

namespace rotulus::worker {
namespace {

constexpr int kPatienceMs = 10'000;

class HungUp final : public std::runtime_error {
 public:
  HungUp() : std::runtime_error("the link hung up") {}
};

void wait_for(int file, short event) {
  pollfd poll{.fd = file, .events = event, .revents = 0};
  if (::poll(&poll, 1, kPatienceMs) <= 0) throw std::runtime_error("the link did nothing for ten seconds");
}

int new_socket() {
  const int file = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (file < 0) throw std::runtime_error("no socket");
  return file;
}

}  // namespace

FakeCoordinator::FakeCoordinator() : listener_(new_socket()) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  if (::bind(listener_, generic, size) != 0 || ::getsockname(listener_, generic, &size) != 0) {
    throw std::runtime_error("no port on the loopback");
  }
  port_ = ntohs(address.sin_port);
}

FakeCoordinator::~FakeCoordinator() {
  hang_up();
  ::close(listener_);
}

void FakeCoordinator::listen() {
  ::listen(listener_, 4);
}

void FakeCoordinator::accept() {
  hang_up();
  epoch_ = {};
  wait_for(listener_, POLLIN);
  connection_ = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
  const int on = 1;
  ::setsockopt(connection_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

void FakeCoordinator::hang_up() {
  if (connection_ >= 0) ::close(std::exchange(connection_, -1));
}

void FakeCoordinator::send(const protocol::Message& message) {
  const auto frame = protocol::make_frame(message, epoch_);
  send_raw({reinterpret_cast<const char*>(frame.data()), frame.size()});
}

void FakeCoordinator::send_raw(std::string_view bytes) {
  while (!bytes.empty()) {
    wait_for(connection_, POLLOUT);
    const ssize_t sent = ::send(connection_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) throw HungUp();
    if (sent > 0) bytes.remove_prefix(static_cast<std::size_t>(sent));
  }
}

void FakeCoordinator::read(std::span<std::byte> into) {
  while (!into.empty()) {
    wait_for(connection_, POLLIN);
    const ssize_t got = ::recv(connection_, into.data(), into.size(), 0);
    if (got == 0 || (got < 0 && errno != EAGAIN)) throw HungUp();
    if (got > 0) into = into.subspan(static_cast<std::size_t>(got));
  }
}

protocol::Message FakeCoordinator::receive_any() {
  std::array<std::byte, protocol::kFrameHeaderBytes> header;
  read(header);
  const protocol::FrameHeader parsed = protocol::parse_frame_header(header);
  if (parsed.epoch != epoch_) throw std::runtime_error("the link sent another epoch");
  std::vector<std::byte> payload(parsed.payload_bytes);
  read(payload);
  return protocol::parse_frame(header, payload);
}

protocol::Message FakeCoordinator::receive() {
  for (;;) {
    protocol::Message message = receive_any();
    if (!std::holds_alternative<protocol::Pong>(message)) return message;
  }
}

protocol::Pong FakeCoordinator::receive_pong() {
  return std::get<protocol::Pong>(receive_any());
}

bool FakeCoordinator::is_closed() {
  try {
    for (;;) receive_any();
  } catch (const HungUp&) {
    return true;
  } catch (const std::exception&) {
    return false;
  }
}

const protocol::Challenge& FakeCoordinator::challenge() {
  static const protocol::Challenge challenge = [] {
    protocol::Challenge made;
    for (std::size_t i = 0; i < made.nonce.size(); ++i) made.nonce[i] = static_cast<std::uint8_t>(7 * i + 1);
    return made;
  }();
  return challenge;
}

protocol::Hello FakeCoordinator::welcome(protocol::Epoch epoch) {
  accept();
  send(challenge());
  auto hello = std::get<protocol::Hello>(receive());
  send(protocol::Welcome{.epoch = epoch, .store = {77}, .catalogue_sequence = 5});
  epoch_ = epoch;
  return hello;
}

}  // namespace rotulus::worker
