#include "worker/parallel/exchange.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "protocol/error.h"
#include "protocol/limits.h"

namespace rotulus::worker {
namespace {

using protocol::kExchangeTimeout;
using protocol::kRingMessageBytes;

// One tag a pattern and phase: messages of one pair and tag arrive in order, so repeated calls need no others.
enum Tag : std::uint32_t { kBroadcastSize, kBroadcastBytes, kGatherSize, kGatherBytes, kExchangeBytes };
static_assert(kExchangeBytes < kFirstFreeTag);

using Tickets = std::vector<Transport::Ticket>;

void post_send_cut(Transport& transport, std::uint32_t to, std::uint32_t tag, std::span<const std::byte> bytes,
                   Tickets& tickets) {
  for (std::size_t at = 0; at < bytes.size(); at += kRingMessageBytes) {
    tickets.push_back(transport.post_send(to, tag, bytes.subspan(at, std::min(kRingMessageBytes, bytes.size() - at))));
  }
}

void post_receive_cut(Transport& transport, std::uint32_t from, std::uint32_t tag, std::span<std::byte> bytes,
                      Tickets& tickets) {
  for (std::size_t at = 0; at < bytes.size(); at += kRingMessageBytes) {
    tickets.push_back(
        transport.post_receive(from, tag, bytes.subspan(at, std::min(kRingMessageBytes, bytes.size() - at))));
  }
}

void wait_all(Transport& transport, Tickets& tickets) {
  transport.wait(tickets, kExchangeTimeout);
  tickets.clear();
}

std::span<std::byte> bytes_of(std::uint64_t& value) {
  return std::as_writable_bytes(std::span(&value, 1));
}

}  // namespace

// Along a binomial tree: in coordinates where the root is 0, the parent of v is v without its lowest set bit, so that
// the last rank has the bytes after log2(size) messages.
void broadcast(Transport& transport, std::uint32_t root, std::vector<std::byte>& bytes) {
  const std::uint32_t size = transport.size();
  CHECK(root < size, root, size);
  const std::uint32_t v = (transport.rank() + size - root) % size;
  const auto real = [&](std::uint32_t virtual_rank) { return (virtual_rank + root) % size; };
  Tickets tickets;
  std::uint64_t byte_count = bytes.size();
  if (v != 0) {
    const std::uint32_t parent = real(v & (v - 1));
    tickets.push_back(transport.post_receive(parent, kBroadcastSize, bytes_of(byte_count)));
    wait_all(transport, tickets);
    bytes.resize(byte_count);
    post_receive_cut(transport, parent, kBroadcastBytes, bytes, tickets);
    wait_all(transport, tickets);
  }
  const std::uint32_t reach = v == 0 ? std::bit_ceil(size) : v & (~v + 1);  // children: v + every power of two below
  for (std::uint32_t step = reach / 2; step > 0; step /= 2) {
    if (v + step >= size) continue;
    tickets.push_back(transport.post_send(real(v + step), kBroadcastSize, bytes_of(byte_count)));
    post_send_cut(transport, real(v + step), kBroadcastBytes, bytes, tickets);
  }
  wait_all(transport, tickets);
}

std::vector<std::vector<std::byte>> gather(Transport& transport, std::uint32_t root, std::span<const std::byte> bytes) {
  const std::uint32_t size = transport.size();
  CHECK(root < size, root, size);
  std::vector<std::vector<std::byte>> parts(size);
  Tickets tickets;
  if (transport.rank() != root) {
    std::uint64_t byte_count = bytes.size();
    tickets.push_back(transport.post_send(root, kGatherSize, bytes_of(byte_count)));
    post_send_cut(transport, root, kGatherBytes, bytes, tickets);
    wait_all(transport, tickets);
    return parts;
  }
  std::vector<std::uint64_t> byte_counts(size);
  for (std::uint32_t rank = 0; rank < size; ++rank) {
    if (rank != root) tickets.push_back(transport.post_receive(rank, kGatherSize, bytes_of(byte_counts[rank])));
  }
  wait_all(transport, tickets);
  for (std::uint32_t rank = 0; rank < size; ++rank) {
    if (rank == root) continue;
    parts[rank].resize(byte_counts[rank]);
    post_receive_cut(transport, rank, kGatherBytes, parts[rank], tickets);
  }
  parts[root].assign(bytes.begin(), bytes.end());
  wait_all(transport, tickets);
  return parts;
}

// Each rank begins with its right neighbour and receives from its left one, so that no rank is everybody's first.
void exchange(Transport& transport, std::span<const std::span<const std::byte>> send,
              std::span<const std::span<std::byte>> receive) {
  const std::uint32_t size = transport.size();
  const std::uint32_t rank = transport.rank();
  CHECK(send.size() == size && receive.size() == size, send.size(), receive.size(), size);
  CHECK(send[rank].size() == receive[rank].size(), send[rank].size(), receive[rank].size());
  Tickets tickets;
  for (std::uint32_t step = 1; step < size; ++step) {
    const std::uint32_t from = (rank + size - step) % size;
    post_receive_cut(transport, from, kExchangeBytes, receive[from], tickets);
  }
  for (std::uint32_t step = 1; step < size; ++step) {
    const std::uint32_t to = (rank + step) % size;
    post_send_cut(transport, to, kExchangeBytes, send[to], tickets);
  }
  if (!send[rank].empty()) std::memmove(receive[rank].data(), send[rank].data(), send[rank].size());
  wait_all(transport, tickets);
}

std::vector<std::vector<std::byte>> exchange_unsized(Transport& transport,
                                                     std::span<const std::vector<std::byte>> send) {
  const std::uint32_t size = transport.size();
  CHECK(send.size() == size, send.size(), size);
  std::vector<std::uint64_t> send_counts(size), receive_counts(size);
  std::vector<std::span<const std::byte>> send_views;
  std::vector<std::span<std::byte>> receive_views;
  for (std::uint32_t rank = 0; rank < size; ++rank) {
    send_counts[rank] = send[rank].size();
    send_views.push_back(bytes_of(send_counts[rank]));
    receive_views.push_back(bytes_of(receive_counts[rank]));
  }
  exchange(transport, send_views, receive_views);
  std::vector<std::vector<std::byte>> received(size);
  for (std::uint32_t rank = 0; rank < size; ++rank) {
    received[rank].resize(receive_counts[rank]);
    send_views[rank] = send[rank];
    receive_views[rank] = received[rank];
  }
  exchange(transport, send_views, receive_views);
  return received;
}

}  // namespace rotulus::worker
