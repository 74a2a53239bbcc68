// Run by mpirun with 3 ranks: the scripts of exchange_patterns.h over MPI, then deadlines met and missed. Exits
// non-zero in words if anything differs.
#include <mpi.h>

#include <cstdio>
#include <thread>

#include "protocol/error.h"
#include "tests/worker/parallel/exchange_patterns.h"

namespace rotulus::worker {
namespace {

using namespace std::chrono_literals;

void run_scripts(Transport& transport) {
  std::mt19937_64 random(20240611);
  for (int i = 0; i < 300; ++i) {
    const auto kind = static_cast<ExchangeRound::Kind>(random() % 5);
    const std::size_t max_bytes = std::vector<std::size_t>{0, 1, 300, 5'000, 200'000}[random() % 5];
    run_round(transport, {kind, random(), max_bytes});
  }
  run_round(transport, {ExchangeRound::Kind::exchange, 3, 3 * protocol::kRingMessageBytes});
  run_round(transport, {ExchangeRound::Kind::broadcast, 4, 3 * protocol::kRingMessageBytes});
}

void pass_one_byte(Transport& transport, std::uint32_t from, std::uint32_t to, std::chrono::milliseconds deadline) {
  std::vector<std::byte> bytes(1);
  if (transport.rank() != from && transport.rank() != to) return;
  const auto ticket = transport.rank() == from ? transport.post_send(to, kFirstFreeTag, bytes)
                                               : transport.post_receive(from, kFirstFreeTag, bytes);
  transport.wait({&ticket, 1}, deadline);
}

// Rank 0 waits for 1, which waits for 2, which computes for longer than their deadline.
void wait_for_a_long_computation(Transport& transport) {
  constexpr auto kDeadline = 800ms;
  if (transport.rank() == 2) {
    const auto end = std::chrono::steady_clock::now() + 2 * kDeadline;
    while (std::chrono::steady_clock::now() < end) {
      transport.progress();
      std::this_thread::sleep_for(1ms);
    }
  }
  pass_one_byte(transport, 2, 1, kDeadline);
  pass_one_byte(transport, 1, 0, kDeadline);
}

// Rank 0 misses a deadline; then rank 2 is told, and sends after all, so that nothing stays posted at the end.
void miss_a_deadline(Transport& transport) {
  std::vector<std::byte> late(5);
  if (transport.rank() == 0) {
    const auto ticket = transport.post_receive(2, kFirstFreeTag + 1, late);
    std::string words = "the wait ended";
    try {
      transport.wait({&ticket, 1}, 50ms);
    } catch (const protocol::Error& error) {
      if (error.code() == protocol::ErrorCode::transport_lost) words = error.message();
    }
    if (words.find("awaiting a message of rank 2") == std::string::npos ||
        words.find("deadline 50 ms") == std::string::npos) {
      throw std::runtime_error("a missed deadline was reported as: " + words);
    }
    pass_one_byte(transport, 0, 2, 20s);
    transport.wait({&ticket, 1}, 20s);
  }
  if (transport.rank() == 2) {
    pass_one_byte(transport, 0, 2, 20s);
    const auto ticket = transport.post_send(0, kFirstFreeTag + 1, late);
    transport.wait({&ticket, 1}, 20s);
  }
}

int run() {
  const auto transport = make_mpi_transport(10ms);
  if (transport->size() != 3) {
    std::fprintf(stderr, "this check wants 3 ranks, not %u\n", transport->size());
    return 2;
  }
  try {
    run_scripts(*transport);
    wait_for_a_long_computation(*transport);
    miss_a_deadline(*transport);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "rank %u: %s\n", transport->rank(), error.what());
    MPI_Abort(MPI_COMM_WORLD, 1);
  }
  return 0;
}

}  // namespace
}  // namespace rotulus::worker

int main(int argc, char** argv) {
  int provided = 0;
  MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &provided);
  const int status = rotulus::worker::run();
  MPI_Finalize();
  return status;
}
