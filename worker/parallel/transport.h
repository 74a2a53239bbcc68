// The data plane: how the ranks of one worker group exchange bytes. Point-to-point, tagged, nonblocking; everything
// else (broadcast, ring, gather) is built on it in exchange.h.
//
// A Transport knows nothing of what it carries. Both sides know the size of every message.
//
// Threads: one thread, the one that made it (MPI_THREAD_FUNNELED). Buffers stay alive and untouched until their ticket
// is done. A message between two ranks with one tag arrives in the order in which it was posted.
// Errors:  Error{transport_lost} names the peer and what was awaited when a deadline passes or a peer is gone. A posted
//          message cannot be taken back, so after that the worker group is over.
// Nothing moves unless a rank calls: progress() is called between tiles of a long computation. A deadline counts the
// time in which the awaited peer made no progress (liveness.h), so that a long computation is not a loss, but a rank
// that does not call for as long as a deadline is.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "protocol/limits.h"

namespace rotulus::worker {

class Transport {
 public:
  struct Ticket {
    std::uint64_t value = 0;
  };

  virtual ~Transport() = default;
  virtual std::uint32_t rank() const = 0;
  virtual std::uint32_t size() const = 0;

  virtual Ticket post_send(std::uint32_t to, std::uint32_t tag, std::span<const std::byte> bytes) = 0;
  virtual Ticket post_receive(std::uint32_t from, std::uint32_t tag, std::span<std::byte> bytes) = 0;

  virtual void progress() = 0;
  virtual bool is_done(Ticket ticket) = 0;
  // Waits for all; each ticket is spent.
  virtual void wait(std::span<const Ticket> tickets, std::chrono::milliseconds deadline) = 0;
};

// Ranks as threads of one process, for tests: hands out one Transport a rank. Delay and loss can be injected.
struct LocalFaults {
  std::chrono::microseconds max_delay{0};  // each message is held back for a random time up to this
  std::uint64_t seed = 1;
  std::chrono::milliseconds beacon_interval = protocol::kBeaconInterval;
};
std::vector<std::unique_ptr<Transport>> make_local_transports(std::uint32_t size, const LocalFaults& faults = {});
// After this, every wait that involves `rank` ends in Error{transport_lost}.
void lose_rank(Transport& any_of_the_group, std::uint32_t rank);

// MPI_COMM_WORLD; MPI is initialised before (FUNNELED) and finalised after by main. Made by all ranks together.
std::unique_ptr<Transport> make_mpi_transport(std::chrono::milliseconds beacon_interval = protocol::kBeaconInterval);

// nullptr where the project was built without NCCL.
std::unique_ptr<Transport> make_nccl_transport();

}  // namespace rotulus::worker
