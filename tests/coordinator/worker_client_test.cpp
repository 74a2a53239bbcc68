#include "coordinator/worker_client.h"

#include <gtest/gtest.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>

#include "protocol/limits.h"

namespace rotulus::coordinator {
namespace {

// A producer is told to stop when a worker does not read, and what is queued stays bounded.
TEST(WorkerClient, AsksItsProducerToWaitWhileTheQueueIsFull) {
  using boost::asio::ip::tcp;
  boost::asio::io_context io;
  std::unique_ptr<WorkerClient> client;
  WorkerListener listener(io, "127.0.0.1", 0,
                          [&](std::unique_ptr<WorkerClient> connected) { client = std::move(connected); });
  tcp::socket worker(io);
  worker.connect({boost::asio::ip::make_address("127.0.0.1"), listener.port()});
  while (!client) io.run_one();
  bool has_room_again = false;
  client->start({.on_message = {}, .on_closed = {}, .on_room = [&] { has_room_again = true; }});

  const protocol::TokenizeDocument piece{.bytes = std::string(protocol::kTokenizePieceBytes, 'a')};
  std::size_t sent = 0;
  while (client->has_room()) {
    client->send(piece);
    io.poll();
    ASSERT_LT(++sent, 1000u);
  }
  EXPECT_GE(client->queued_bytes(), protocol::kMaxQueuedFrameBytes);
  EXPECT_LE(client->queued_bytes(), protocol::kMaxQueuedFrameBytes + protocol::kMaxFrameBytes);
  EXPECT_FALSE(has_room_again);
  std::vector<char> read(64u << 10);
  while (!has_room_again) {
    worker.read_some(boost::asio::buffer(read));
    io.poll();
  }
  EXPECT_TRUE(client->has_room());
}

}  // namespace
}  // namespace rotulus::coordinator
