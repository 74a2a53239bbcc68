// One connection to one worker: frames in, frames out, in order, with a bounded queue; and the port on which they come.
//
// Threads: the event loop. Errors: a connection that fails, is closed by its peer, or sends a frame that cannot be
// trusted is closed and tells why, once.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "protocol/messages.h"

namespace boost::asio {
class io_context;
}

namespace rotulus::coordinator {

class WorkerClient final {
 public:
  struct Events {
    std::function<void(const protocol::Message&)> on_message;
    std::function<void(const std::string& why)> on_closed;  // not after close()
    std::function<void()> on_room;                          // the queue fell under its limit again
  };

  struct Connection;
  explicit WorkerClient(std::shared_ptr<Connection> connection);
  ~WorkerClient();  // closes
  WorkerClient(const WorkerClient&) = delete;
  WorkerClient& operator=(const WorkerClient&) = delete;

  void start(Events events);  // begins to read
  void set_events(Events events);
  const std::string& peer() const;  // address and port
  // Frames carry this epoch from now on; those of another that arrive are dropped.
  void set_epoch(protocol::Epoch epoch);
  // Throws Error{payload_too_large} if the message does not fit a frame. Does nothing on a closed connection.
  void send(const protocol::Message& message);
  // The two halves of it, for who must know that a message fits before others are sent.
  std::vector<std::byte> make_frame(const protocol::Message& message) const;
  void send_frame(std::vector<std::byte> frame);
  bool has_room() const;  // less than kMaxQueuedFrameBytes wait to be sent
  std::size_t queued_bytes() const;
  bool take_heard();  // whether anything has come since it was asked last
  void close();
  void close_after_sending();  // what is queued goes out first

 private:
  std::shared_ptr<Connection> connection_;  // shared with the operations that are under way on its socket
};

class WorkerListener final {
 public:
  // Throws Error{unavailable} if the address cannot be bound. Port 0: any.
  WorkerListener(boost::asio::io_context& io, const std::string& host, std::uint16_t port,
                 std::function<void(std::unique_ptr<WorkerClient>)> on_connection);
  ~WorkerListener();
  std::uint16_t port() const;
  void stop();

 private:
  struct State;
  std::shared_ptr<State> state_;  // shared with the accept that is under way
};

}  // namespace rotulus::coordinator
