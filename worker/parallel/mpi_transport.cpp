// Ranks as MPI processes. One thread calls MPI and polls: nothing moves in Open MPI's shared memory otherwise, and a
// progress thread only costs. Beacons (liveness.h) travel on a communicator of their own, so that no tag is taken from
// the data.
#include <mpi.h>

#include <algorithm>
#include <thread>

#include "protocol/error.h"
#include "worker/parallel/liveness.h"
#include "worker/parallel/message_name.h"
#include "worker/parallel/ticket_table.h"
#include "worker/parallel/transport.h"

namespace rotulus::worker {
namespace {

using Clock = std::chrono::steady_clock;

// A wait that is short is spun through: waking up from a sleep costs 40 us, a message 0.3 us. Later, and at once where
// ranks share cores, each poll offers the core to whoever has work.
constexpr int kSpinPolls = 256;
// The clock and the beacons are looked at once in so many polls.
constexpr int kPollsPerLook = 16;

void check_mpi(int code, std::string_view what) {
  if (code == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING];
  int length = 0;
  MPI_Error_string(code, text, &length);
  throw protocol::Error(protocol::ErrorCode::transport_lost,
                        fmt::format("{}: {}", what, std::string_view(text, static_cast<std::size_t>(length))));
}

int as_int(std::size_t value) {
  CHECK(value <= std::size_t{INT32_MAX}, value);
  return static_cast<int>(value);
}

// A copy of the world whose errors come back as codes.
class Communicator final {
 public:
  Communicator() {
    check_mpi(MPI_Comm_dup(MPI_COMM_WORLD, &handle_), "MPI_Comm_dup");
    check_mpi(MPI_Comm_set_errhandler(handle_, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
  }
  ~Communicator() { MPI_Comm_free(&handle_); }
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;

  MPI_Comm operator*() const { return handle_; }

 private:
  MPI_Comm handle_ = MPI_COMM_NULL;
};

struct Operation {
  MessageName name;
  MPI_Request request = MPI_REQUEST_NULL;  // null once it is done
};

// Beacons to and from all other ranks: one receive is always posted, and at most one send a peer is on its way.
class Beacons final {
 public:
  Beacons(std::uint32_t rank, std::uint32_t size) : rank_(rank), sends_(size, MPI_REQUEST_NULL), outgoing_(size) {
    post_receive();
  }
  ~Beacons() {
    MPI_Cancel(&receive_);
    MPI_Wait(&receive_, MPI_STATUS_IGNORE);
    for (MPI_Request& send : sends_) {
      if (send != MPI_REQUEST_NULL) MPI_Request_free(&send);
    }
  }
  Beacons(const Beacons&) = delete;
  Beacons& operator=(const Beacons&) = delete;

  template <typename OnBeacon>
  void take(OnBeacon on_beacon) {
    while (true) {
      int is_done = 0;
      MPI_Status status;
      check_mpi(MPI_Test(&receive_, &is_done, &status), "receiving a beacon");
      if (!is_done) return;
      on_beacon(static_cast<std::uint32_t>(status.MPI_SOURCE), incoming_);
      post_receive();
    }
  }

  // A peer that has not taken the one before gets none.
  void send(Liveness::Beacon beacon) {
    for (std::uint32_t peer = 0; peer < sends_.size(); ++peer) {
      if (peer == rank_) continue;
      int is_free = 0;
      check_mpi(MPI_Test(&sends_[peer], &is_free, MPI_STATUS_IGNORE), "sending a beacon");
      if (!is_free) continue;
      outgoing_[peer] = beacon;
      check_mpi(MPI_Isend(&outgoing_[peer], 1, MPI_UINT64_T, static_cast<int>(peer), 0, *communicator_, &sends_[peer]),
                "sending a beacon");
    }
  }

 private:
  void post_receive() {
    check_mpi(MPI_Irecv(&incoming_, 1, MPI_UINT64_T, MPI_ANY_SOURCE, 0, *communicator_, &receive_),
              "receiving a beacon");
  }

  Communicator communicator_;
  const std::uint32_t rank_;
  Liveness::Beacon incoming_ = 0;
  MPI_Request receive_ = MPI_REQUEST_NULL;
  std::vector<MPI_Request> sends_;          // [size]
  std::vector<Liveness::Beacon> outgoing_;  // [size]
};

std::uint32_t world_rank() {
  int rank = 0;
  check_mpi(MPI_Comm_rank(MPI_COMM_WORLD, &rank), "MPI_Comm_rank");
  return static_cast<std::uint32_t>(rank);
}

std::uint32_t world_size() {
  int size = 0;
  check_mpi(MPI_Comm_size(MPI_COMM_WORLD, &size), "MPI_Comm_size");
  return static_cast<std::uint32_t>(size);
}

bool ranks_exceed_cores() {
  MPI_Comm host = MPI_COMM_NULL;
  check_mpi(MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &host), "MPI_Comm_split_type");
  int ranks = 1;
  check_mpi(MPI_Comm_size(host, &ranks), "MPI_Comm_size");
  MPI_Comm_free(&host);
  return static_cast<unsigned>(ranks) > std::thread::hardware_concurrency();
}

class MpiTransport final : public Transport {
 public:
  explicit MpiTransport(std::chrono::milliseconds beacon_interval)
      : rank_(world_rank()),
        size_(world_size()),
        spin_polls_(ranks_exceed_cores() ? 0 : kSpinPolls),
        beacons_(rank_, size_),
        liveness_(rank_, size_, beacon_interval),
        awaited_(size_) {}

  std::uint32_t rank() const override { return rank_; }
  std::uint32_t size() const override { return size_; }

  Ticket post_send(std::uint32_t to, std::uint32_t tag, std::span<const std::byte> bytes) override {
    CHECK(to < size_, to, size_);
    Operation operation{.name = {to, tag, bytes.size(), true}};
    check_mpi(
        MPI_Isend(bytes.data(), as_int(bytes.size()), MPI_BYTE, as_int(to), as_int(tag), *data_, &operation.request),
        fmt::format("sending to rank {}", to));
    return operations_.add(operation);
  }

  Ticket post_receive(std::uint32_t from, std::uint32_t tag, std::span<std::byte> bytes) override {
    CHECK(from < size_, from, size_);
    Operation operation{.name = {from, tag, bytes.size(), false}};
    check_mpi(
        MPI_Irecv(bytes.data(), as_int(bytes.size()), MPI_BYTE, as_int(from), as_int(tag), *data_, &operation.request),
        fmt::format("receiving from rank {}", from));
    return operations_.add(operation);
  }

  // Taking beacons calls MPI, which moves the data along.
  void progress() override {
    liveness_.work();
    look_at_beacons(Clock::now());
  }

  bool is_done(Ticket ticket) override {
    Operation& operation = operations_[ticket];
    if (operation.request == MPI_REQUEST_NULL) return true;
    int is_done = 0;
    MPI_Status status;
    check_mpi(MPI_Test(&operation.request, &is_done, &status),
              fmt::format("exchanging with rank {}", operation.name.peer));
    if (is_done) complete(operation, status, Clock::now());
    return is_done;
  }

  void wait(std::span<const Ticket> tickets, std::chrono::milliseconds deadline) override {
    const Clock::time_point start = Clock::now();
    std::size_t left = collect_open(tickets);
    for (int poll = 0; left > 0; ++poll) {
      left -= complete_some();
      if (left > 0 && poll >= spin_polls_) std::this_thread::yield();
      if (left > 0 && poll % kPollsPerLook == kPollsPerLook - 1) {
        const Clock::time_point now = Clock::now();
        look_at_beacons(now);
        check_deadline(start, now, deadline);
      }
      if (poll == INT32_MAX - 1) poll = spin_polls_;
    }
    for (const Ticket ticket : tickets) operations_.spend(ticket);
  }

 private:
  // Fills requests_, open_ and awaited_ with what is not done yet; returns how many.
  std::size_t collect_open(std::span<const Ticket> tickets) {
    requests_.clear();
    open_.clear();
    std::fill(awaited_.begin(), awaited_.end(), 0);
    for (const Ticket ticket : tickets) {
      const Operation& operation = operations_[ticket];
      if (operation.request == MPI_REQUEST_NULL) continue;
      requests_.push_back(operation.request);
      open_.push_back(ticket);
      ++awaited_[operation.name.peer];
    }
    completed_.resize(open_.size());
    statuses_.resize(open_.size());
    return open_.size();
  }

  std::size_t complete_some() {
    int count = 0;
    check_mpi(MPI_Testsome(as_int(requests_.size()), requests_.data(), &count, completed_.data(), statuses_.data()),
              "exchanging");
    if (count <= 0) return 0;
    const Clock::time_point now = Clock::now();
    for (int i = 0; i < count; ++i) {
      Operation& operation = operations_[open_[static_cast<std::size_t>(completed_[i])]];
      complete(operation, statuses_[i], now);
      --awaited_[operation.name.peer];
    }
    return static_cast<std::size_t>(count);
  }

  void complete(Operation& operation, const MPI_Status& status, Clock::time_point now) {
    operation.request = MPI_REQUEST_NULL;
    if (!operation.name.is_send) {
      int byte_count = 0;
      MPI_Get_count(&status, MPI_BYTE, &byte_count);
      CHECK(static_cast<std::size_t>(byte_count) == operation.name.byte_count, byte_count, operation.name.byte_count,
            operation.name.peer, operation.name.tag);
    }
    liveness_.hear_message(operation.name.peer, now);
    liveness_.work();
  }

  void look_at_beacons(Clock::time_point now) {
    beacons_.take([&](std::uint32_t from, Liveness::Beacon beacon) {
      liveness_.hear_beacon(from, beacon, awaited_[from] > 0, now);
    });
    if (const auto beacon = liveness_.due(now)) beacons_.send(*beacon);
  }

  void check_deadline(Clock::time_point start, Clock::time_point now, std::chrono::milliseconds deadline) {
    for (const Ticket ticket : open_) {
      const Operation& operation = operations_[ticket];
      if (operation.request == MPI_REQUEST_NULL) continue;
      if (now < std::max(start, liveness_.last_heard(operation.name.peer)) + deadline) continue;
      throw missed_deadline(rank_, size_, operation.name, deadline);
    }
  }

  const std::uint32_t rank_;
  const std::uint32_t size_;
  const int spin_polls_;
  Communicator data_;
  Beacons beacons_;
  Liveness liveness_;
  TicketTable<Operation> operations_;

  // Of the wait that runs; members so that waiting does not allocate.
  std::vector<MPI_Request> requests_;
  std::vector<Ticket> open_;  // [requests_.size()]
  std::vector<int> completed_;
  std::vector<MPI_Status> statuses_;
  std::vector<std::uint32_t> awaited_;  // [size] open messages of each peer
};

}  // namespace

std::unique_ptr<Transport> make_mpi_transport(std::chrono::milliseconds beacon_interval) {
  int is_initialised = 0;
  MPI_Initialized(&is_initialised);
  CHECK(is_initialised);
  return std::make_unique<MpiTransport>(beacon_interval);
}

}  // namespace rotulus::worker
