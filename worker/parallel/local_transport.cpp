// Ranks as threads: one mailbox a rank under one mutex for the group. Sending copies the bytes, so a send is done when
// it is posted; a message may be taken from the mailbox once its injected delay is over.
#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <random>

#include "protocol/error.h"
#include "protocol/limits.h"
#include "worker/parallel/liveness.h"
#include "worker/parallel/message_name.h"
#include "worker/parallel/ticket_table.h"
#include "worker/parallel/transport.h"

namespace rotulus::worker {
namespace {

using Clock = std::chrono::steady_clock;

struct Parcel {
  std::vector<std::byte> bytes;
  Clock::time_point ready;
};

struct Mailbox {
  std::map<std::pair<std::uint32_t, std::uint32_t>, std::deque<Parcel>> parcels;  // by (from, tag), in order
  std::vector<std::pair<std::uint32_t, Liveness::Beacon>> beacons;                // with their senders
  std::condition_variable arrived;
};

struct Group {
  Group(std::uint32_t size, const LocalFaults& faults_) : faults(faults_), mailboxes(size), is_lost(size) {}

  const LocalFaults faults;
  std::mutex mutex;  // guards what follows
  std::vector<Mailbox> mailboxes;
  std::vector<bool> is_lost;
};

struct Operation {
  MessageName name;
  bool is_done = false;
  std::span<std::byte> into;  // of a receive
};

class LocalTransport final : public Transport {
 public:
  LocalTransport(std::shared_ptr<Group> group, std::uint32_t rank)
      : group_(std::move(group)),
        rank_(rank),
        size_(static_cast<std::uint32_t>(group_->mailboxes.size())),
        random_(group_->faults.seed * 0x9e3779b97f4a7c15ull + rank),
        liveness_(rank, size_, group_->faults.beacon_interval) {}

  std::uint32_t rank() const override { return rank_; }
  std::uint32_t size() const override { return size_; }

  Ticket post_send(std::uint32_t to, std::uint32_t tag, std::span<const std::byte> bytes) override {
    CHECK(to < size_, to, size_);
    Parcel parcel{{bytes.begin(), bytes.end()}, Clock::now() + random_delay()};
    {
      const std::lock_guard lock(group_->mutex);
      auto& line = group_->mailboxes[to].parcels[{rank_, tag}];
      if (!line.empty()) parcel.ready = std::max(parcel.ready, line.back().ready);
      line.push_back(std::move(parcel));
    }
    group_->mailboxes[to].arrived.notify_one();
    return operations_.add({.name = {to, tag, bytes.size(), true}, .is_done = true});
  }

  Ticket post_receive(std::uint32_t from, std::uint32_t tag, std::span<std::byte> bytes) override {
    CHECK(from < size_, from, size_);
    const Ticket ticket = operations_.add({.name = {from, tag, bytes.size(), false}, .into = bytes});
    receives_[{from, tag}].push_back(ticket);
    return ticket;
  }

  void progress() override {
    liveness_.work();
    const std::lock_guard lock(group_->mutex);
    take_parcels(Clock::now());
    take_beacons(Clock::now(), {});
    send_beacon(Clock::now());
  }

  bool is_done(Ticket ticket) override {
    const std::lock_guard lock(group_->mutex);
    take_parcels(Clock::now());
    return operations_[ticket].is_done;
  }

  void wait(std::span<const Ticket> tickets, std::chrono::milliseconds deadline) override {
    const Clock::time_point start = Clock::now();
    std::unique_lock lock(group_->mutex);
    while (true) {
      const Clock::time_point now = Clock::now();
      Clock::time_point wake = std::min(take_parcels(now), now + group_->faults.beacon_interval);
      take_beacons(now, tickets);
      send_beacon(now);
      bool is_over = true;
      for (const Ticket ticket : tickets) {
        const Operation& operation = operations_[ticket];
        check_lost(operation, deadline);
        if (operation.is_done) continue;
        is_over = false;
        const auto limit = std::max(start, liveness_.last_heard(operation.name.peer)) + deadline;
        if (limit <= now) throw missed_deadline(rank_, size_, operation.name, deadline);
        wake = std::min(wake, limit);
      }
      if (is_over) break;
      group_->mailboxes[rank_].arrived.wait_until(lock, wake);
    }
    for (const Ticket ticket : tickets) operations_.spend(ticket);
  }

  void lose(std::uint32_t rank) {
    const std::lock_guard lock(group_->mutex);
    CHECK(rank < size_, rank, size_);
    group_->is_lost[rank] = true;
    for (Mailbox& mailbox : group_->mailboxes) mailbox.arrived.notify_all();
  }

 private:
  std::chrono::microseconds random_delay() {
    const auto limit = group_->faults.max_delay.count();
    if (limit == 0) return {};
    return std::chrono::microseconds(std::uniform_int_distribution<std::int64_t>(0, limit)(random_));
  }

  // Hands what is ready to the receives posted for it, in order. Returns when the next parcel becomes ready.
  Clock::time_point take_parcels(Clock::time_point now) {
    Clock::time_point next = Clock::time_point::max();
    for (auto& [key, line] : group_->mailboxes[rank_].parcels) {
      auto& waiting = receives_[key];
      while (!line.empty() && !waiting.empty() && line.front().ready <= now) {
        Operation& operation = operations_[waiting.front()];
        const std::vector<std::byte>& bytes = line.front().bytes;
        CHECK(bytes.size() == operation.into.size(), bytes.size(), operation.into.size(), key.first, key.second);
        std::copy(bytes.begin(), bytes.end(), operation.into.begin());
        operation.is_done = true;
        liveness_.hear_message(key.first, now);
        liveness_.work();
        line.pop_front();
        waiting.pop_front();
      }
      if (!line.empty() && !waiting.empty()) next = std::min(next, line.front().ready);
    }
    return next;
  }

  void take_beacons(Clock::time_point now, std::span<const Ticket> awaited) {
    for (const auto& [from, beacon] : group_->mailboxes[rank_].beacons) {
      const bool is_awaited = std::any_of(awaited.begin(), awaited.end(), [&, peer = from](Ticket ticket) {
        return operations_[ticket].name.peer == peer && !operations_[ticket].is_done;
      });
      liveness_.hear_beacon(from, beacon, is_awaited, now);
    }
    group_->mailboxes[rank_].beacons.clear();
  }

  void send_beacon(Clock::time_point now) {
    const auto beacon = liveness_.due(now);
    if (!beacon) return;
    for (std::uint32_t peer = 0; peer < size_; ++peer) {
      if (peer == rank_) continue;
      group_->mailboxes[peer].beacons.emplace_back(rank_, *beacon);
      group_->mailboxes[peer].arrived.notify_one();
    }
  }

  void check_lost(const Operation& operation, std::chrono::milliseconds deadline) const {
    if (operation.is_done && !operation.name.is_send) return;
    for (const std::uint32_t rank : {operation.name.peer, rank_}) {
      if (!group_->is_lost[rank]) continue;
      throw transport_lost(rank_, size_, operation.name, deadline, fmt::format("rank {} is lost", rank));
    }
  }

  std::shared_ptr<Group> group_;  // shared: the last transport of the group ends it
  const std::uint32_t rank_;
  const std::uint32_t size_;
  std::mt19937_64 random_;
  Liveness liveness_;
  TicketTable<Operation> operations_;
  std::map<std::pair<std::uint32_t, std::uint32_t>, std::deque<Ticket>> receives_;  // posted, by (from, tag), in order
};

}  // namespace

std::vector<std::unique_ptr<Transport>> make_local_transports(std::uint32_t size, const LocalFaults& faults) {
  const auto group = std::make_shared<Group>(size, faults);
  std::vector<std::unique_ptr<Transport>> transports;
  for (std::uint32_t rank = 0; rank < size; ++rank) transports.push_back(std::make_unique<LocalTransport>(group, rank));
  return transports;
}

void lose_rank(Transport& any_of_the_group, std::uint32_t rank) {
  auto* local = dynamic_cast<LocalTransport*>(&any_of_the_group);
  CHECK(local != nullptr);
  local->lose(rank);
}

}  // namespace rotulus::worker
