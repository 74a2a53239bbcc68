#include "coordinator/worker_client.h"

#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>
#include <deque>
#include <utility>
#include <vector>

#include "protocol/framing.h"
#include "protocol/limits.h"

namespace rotulus::coordinator {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;
using protocol::Error;
using protocol::ErrorCode;

struct WorkerClient::Connection : std::enable_shared_from_this<Connection> {
  explicit Connection(tcp::socket connected) : socket(std::move(connected)) {}

  tcp::socket socket;
  std::string peer;
  Events events;
  protocol::Epoch epoch;
  bool is_heard = false;
  bool is_open = true;
  bool is_closing = false;  // once the queue is empty

  std::array<std::byte, protocol::kFrameHeaderBytes> header{};
  std::vector<std::byte> payload;
  std::deque<std::vector<std::byte>> queue;
  std::size_t queued_bytes = 0;

  void read_header();
  void read_payload(const protocol::FrameHeader& frame);
  void receive(const protocol::FrameHeader& frame);
  void write_next();
  void on_written(std::size_t bytes);
  void close();
  void fail(const std::string& why);
};

void WorkerClient::Connection::read_header() {
  asio::async_read(socket, asio::buffer(header), [self = shared_from_this()](error_code error, std::size_t) {
    if (!self->is_open) return;
    if (error) return self->fail(error == asio::error::eof ? "the worker closed the connection" : error.message());
    self->is_heard = true;
    try {
      self->read_payload(protocol::parse_frame_header(self->header));
    } catch (const Error& bad_frame) {
      self->fail(bad_frame.message());
    }
  });
}

void WorkerClient::Connection::read_payload(const protocol::FrameHeader& frame) {
  payload.resize(frame.payload_bytes);
  asio::async_read(socket, asio::buffer(payload), [self = shared_from_this(), frame](error_code error, std::size_t) {
    if (!self->is_open) return;
    if (error) return self->fail(error.message());
    self->is_heard = true;
    self->receive(frame);
  });
}

void WorkerClient::Connection::receive(const protocol::FrameHeader& frame) {
  if (frame.epoch == epoch) {
    try {
      const protocol::Message message = protocol::parse_frame(header, payload);
      // A copy: the handler may close this connection, and with it its events.
      const auto on_message = events.on_message;
      if (on_message) on_message(message);
    } catch (const Error& bad_message) {
      return fail(bad_message.message());
    }
  }
  if (is_open) read_header();
}

void WorkerClient::Connection::write_next() {
  asio::async_write(socket, asio::buffer(queue.front()), [self = shared_from_this()](error_code error, std::size_t) {
    if (!self->is_open) return;
    if (error) return self->fail(error.message());
    self->on_written(self->queue.front().size());
  });
}

void WorkerClient::Connection::on_written(std::size_t bytes) {
  queue.pop_front();
  const bool had_room = queued_bytes < protocol::kMaxQueuedFrameBytes;
  queued_bytes -= bytes;
  if (!queue.empty()) {
    write_next();
  } else if (is_closing) {
    return close();
  }
  const auto on_room = events.on_room;
  if (!had_room && queued_bytes < protocol::kMaxQueuedFrameBytes && on_room) on_room();
}

void WorkerClient::Connection::close() {
  is_open = false;
  events = {};
  error_code ignored;
  socket.shutdown(tcp::socket::shutdown_both, ignored);
  socket.close(ignored);
}

void WorkerClient::Connection::fail(const std::string& why) {
  const auto on_closed = events.on_closed;
  close();
  if (on_closed) on_closed(why);
}

WorkerClient::WorkerClient(std::shared_ptr<Connection> connection) : connection_(std::move(connection)) {}

WorkerClient::~WorkerClient() {
  if (!connection_->is_open) return;
  connection_->events = {};
  if (!connection_->is_closing) connection_->close();
}

void WorkerClient::start(Events events) {
  connection_->events = std::move(events);
  connection_->read_header();
}

void WorkerClient::set_events(Events events) {
  connection_->events = std::move(events);
}

const std::string& WorkerClient::peer() const {
  return connection_->peer;
}
void WorkerClient::set_epoch(protocol::Epoch epoch) {
  connection_->epoch = epoch;
}

void WorkerClient::send(const protocol::Message& message) {
  send_frame(make_frame(message));
}

std::vector<std::byte> WorkerClient::make_frame(const protocol::Message& message) const {
  return protocol::make_frame(message, connection_->epoch);
}

void WorkerClient::send_frame(std::vector<std::byte> frame) {
  if (!connection_->is_open || connection_->is_closing) return;
  connection_->queued_bytes += frame.size();
  connection_->queue.push_back(std::move(frame));
  if (connection_->queue.size() == 1) connection_->write_next();
}

bool WorkerClient::has_room() const {
  return connection_->queued_bytes < protocol::kMaxQueuedFrameBytes;
}
std::size_t WorkerClient::queued_bytes() const {
  return connection_->queued_bytes;
}
bool WorkerClient::take_heard() {
  return std::exchange(connection_->is_heard, false);
}

void WorkerClient::close() {
  if (connection_->is_open) connection_->close();
}

void WorkerClient::close_after_sending() {
  if (!connection_->is_open) return;
  connection_->events = {};
  connection_->is_closing = true;
  if (connection_->queue.empty()) connection_->close();
}

struct WorkerListener::State : std::enable_shared_from_this<State> {
  State(asio::io_context& io, std::function<void(std::unique_ptr<WorkerClient>)> callback)
      : acceptor(io), retry(io), on_connection(std::move(callback)) {}

  tcp::acceptor acceptor;
  asio::steady_timer retry;
  std::function<void(std::unique_ptr<WorkerClient>)> on_connection;
  std::uint16_t port = 0;

  void accept() {
    acceptor.async_accept([self = shared_from_this()](error_code error, tcp::socket socket) {
      if (!self->acceptor.is_open()) return;
      if (error) return self->accept_later();
      self->welcome(std::move(socket));
      self->accept();
    });
  }

  // Out of file descriptors, most likely: they come back, but not at once.
  void accept_later() {
    retry.expires_after(std::chrono::milliseconds(100));
    retry.async_wait([self = shared_from_this()](error_code error) {
      if (!error && self->acceptor.is_open()) self->accept();
    });
  }

  void welcome(tcp::socket socket) {
    error_code error;
    socket.set_option(tcp::no_delay(true), error);
    const tcp::endpoint remote = socket.remote_endpoint(error);
    if (error) return;  // gone already
    auto connection = std::make_shared<WorkerClient::Connection>(std::move(socket));
    connection->peer = fmt::format("{}:{}", remote.address().to_string(), remote.port());
    on_connection(std::make_unique<WorkerClient>(std::move(connection)));
  }
};

WorkerListener::WorkerListener(asio::io_context& io, const std::string& host, std::uint16_t port,
                               std::function<void(std::unique_ptr<WorkerClient>)> on_connection)
    : state_(std::make_shared<State>(io, std::move(on_connection))) {
  try {
    const tcp::endpoint endpoint(asio::ip::make_address(host == "localhost" ? "127.0.0.1" : host), port);
    state_->acceptor.open(endpoint.protocol());
    state_->acceptor.set_option(tcp::acceptor::reuse_address(true));
    state_->acceptor.bind(endpoint);
    state_->acceptor.listen();
    state_->port = state_->acceptor.local_endpoint().port();
  } catch (const boost::system::system_error& error) {
    throw Error(ErrorCode::unavailable, fmt::format("listen for workers on {}:{}: {}; choose others with "
                                                    "--control-host and --control-port (0: any)",
                                                    host, port, error.code().message()));
  }
  state_->accept();
}

WorkerListener::~WorkerListener() {
  stop();
}
std::uint16_t WorkerListener::port() const {
  return state_->port;
}

void WorkerListener::stop() {
  error_code ignored;
  state_->acceptor.close(ignored);
  state_->retry.cancel();
  state_->on_connection = nullptr;
}

}  // namespace rotulus::coordinator
