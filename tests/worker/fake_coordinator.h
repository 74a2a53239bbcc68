// The other end of a ControlLink for tests: a real TCP peer on the loopback, one connection at a time, each step asked
// for by the test. Whatever takes ten seconds ends with an exception. One thread may send while another receives.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "protocol/messages.h"

namespace rotulus::worker {

class FakeCoordinator final {
 public:
  FakeCoordinator();  // has a port, but does not listen yet
  ~FakeCoordinator();
  FakeCoordinator(const FakeCoordinator&) = delete;
  FakeCoordinator& operator=(const FakeCoordinator&) = delete;

  std::uint16_t port() const { return port_; }
  void listen();
  void accept();
  void hang_up();

  void send(const protocol::Message& message);  // with the epoch set
  void send_raw(std::string_view bytes);
  void set_epoch(protocol::Epoch epoch) { epoch_ = epoch; }

  protocol::Message receive();  // the next message that is no Pong
  protocol::Pong receive_pong();
  bool is_closed();  // whether the peer closes; drops what it still sends

  // The whole opening: Challenge, Hello, Welcome with `epoch`. Returns the hello.
  protocol::Hello welcome(protocol::Epoch epoch);
  static const protocol::Challenge& challenge();

 private:
  void read(std::span<std::byte> into);
  protocol::Message receive_any();

  int listener_ = -1;
  int connection_ = -1;
  std::uint16_t port_ = 0;
  protocol::Epoch epoch_;
};

}  // namespace rotulus::worker
