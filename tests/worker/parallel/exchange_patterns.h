// One script of exchanges that every rank of a group runs, with contents that each rank can tell from the indices
// alone. Used over threads (local_transport_test.cpp) and over MPI (mpi_transport_check.cpp).
#pragma once

#include <fmt/format.h>

#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "worker/parallel/exchange.h"

namespace rotulus::worker {

struct ExchangeRound {
  enum class Kind { broadcast, gather, exchange, exchange_unsized, tagged } kind;
  std::uint64_t seed = 0;
  std::size_t max_bytes = 0;
};

inline std::size_t pattern_size(const ExchangeRound& round, std::uint32_t from, std::uint32_t to) {
  std::mt19937_64 random(round.seed * 1'000'003 + from * 1009 + to);
  return random() % (round.max_bytes + 1);
}

inline std::vector<std::byte> pattern(const ExchangeRound& round, std::uint32_t from, std::uint32_t to) {
  std::vector<std::byte> bytes(pattern_size(round, from, to));
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    bytes[i] = static_cast<std::byte>((round.seed + 31 * from + 57 * to) ^ (i * 0x9e3779b1ull >> 13));
  }
  return bytes;
}

inline void expect_pattern(const std::vector<std::byte>& got, const ExchangeRound& round, std::uint32_t from,
                           std::uint32_t to) {
  if (got != pattern(round, from, to)) {
    throw std::runtime_error(
        fmt::format("round of kind {} with seed {}: what went from rank {} to {} came as {} bytes "
                    "that differ from the {} sent",
                    static_cast<int>(round.kind), round.seed, from, to, got.size(), pattern_size(round, from, to)));
  }
}

// Several messages of one pair under one tag, and under two tags posted in the opposite order.
inline void run_tagged(Transport& transport, const ExchangeRound& round) {
  const std::uint32_t me = transport.rank();
  const std::uint32_t next = (me + 1) % transport.size();
  const std::uint32_t before = (me + transport.size() - 1) % transport.size();
  const std::vector<std::uint32_t> tags = {kFirstFreeTag, kFirstFreeTag + 1, kFirstFreeTag, kFirstFreeTag + 1};
  const std::vector<std::uint32_t> receive_order = {1, 3, 0, 2};
  std::vector<std::vector<std::byte>> sent(tags.size()), got(tags.size());
  std::vector<Transport::Ticket> tickets;
  for (std::uint32_t i = 0; i < tags.size(); ++i) {
    sent[i] = pattern({round.kind, round.seed + i, round.max_bytes}, me, next);
    tickets.push_back(transport.post_send(next, tags[i], sent[i]));
  }
  for (const std::uint32_t i : receive_order) {
    got[i].resize(pattern_size({round.kind, round.seed + i, round.max_bytes}, before, me));
    tickets.push_back(transport.post_receive(before, tags[i], got[i]));
  }
  while (!transport.is_done(tickets.back())) transport.progress();
  transport.wait(tickets, protocol::kExchangeTimeout);
  for (std::uint32_t i = 0; i < tags.size(); ++i) {
    expect_pattern(got[i], {round.kind, round.seed + i, round.max_bytes}, before, me);
  }
}

inline void run_round(Transport& transport, const ExchangeRound& round) {
  const std::uint32_t me = transport.rank();
  const std::uint32_t size = transport.size();
  const std::uint32_t root = static_cast<std::uint32_t>(round.seed % size);
  std::vector<std::vector<std::byte>> to_all(size), from_all(size);
  for (std::uint32_t rank = 0; rank < size; ++rank) to_all[rank] = pattern(round, me, rank);
  switch (round.kind) {
    case ExchangeRound::Kind::broadcast: {
      std::vector<std::byte> bytes = me == root ? pattern(round, root, 0) : std::vector<std::byte>(7);
      broadcast(transport, root, bytes);
      return expect_pattern(bytes, round, root, 0);
    }
    case ExchangeRound::Kind::gather: {
      const auto parts = gather(transport, root, to_all[root]);
      for (std::uint32_t rank = 0; rank < size && me == root; ++rank) expect_pattern(parts[rank], round, rank, root);
      return;
    }
    case ExchangeRound::Kind::exchange: {
      std::vector<std::span<const std::byte>> send(to_all.begin(), to_all.end());
      for (std::uint32_t rank = 0; rank < size; ++rank) from_all[rank].resize(pattern_size(round, rank, me));
      std::vector<std::span<std::byte>> receive(from_all.begin(), from_all.end());
      exchange(transport, send, receive);
      break;
    }
    case ExchangeRound::Kind::exchange_unsized:
      from_all = exchange_unsized(transport, to_all);
      break;
    case ExchangeRound::Kind::tagged:
      return run_tagged(transport, round);
  }
  for (std::uint32_t rank = 0; rank < size; ++rank) expect_pattern(from_all[rank], round, rank, me);
}

}  // namespace rotulus::worker
