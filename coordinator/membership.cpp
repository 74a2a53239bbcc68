#include "coordinator/membership.h"

#include <algorithm>
#include <map>

#include "coordinator/handshake.h"
#include "protocol/lanes.h"

namespace rotulus::coordinator {

using protocol::Error;
using protocol::ErrorCode;
using protocol::Hello;
using protocol::Message;
using protocol::Refusal;

namespace {

constexpr std::size_t kMaxNewcomers = 2 * protocol::kMaxRanks;
constexpr std::size_t kMaxRefusedKept = 32;
constexpr std::size_t kMaxEndedGroupsKept = 1024;
constexpr std::size_t kLiveObjectsPerMessage = 32u << 10;
// Loading a model, listing or erasing a full volume take their time; a heartbeat is asked for all the while.
constexpr auto kPhaseTimeout = std::chrono::minutes(5);

}  // namespace

struct Membership::Newcomer {
  std::unique_ptr<WorkerClient> client;
  protocol::Challenge challenge;
  Timer deadline;
};

Membership::Membership(EventLoop& loop, MembershipConfig config, Catalogue& catalogue, Metrics& metrics, Log& log)
    : loop_(loop), config_(std::move(config)), catalogue_(catalogue), metrics_(metrics), log_(log) {}

Membership::~Membership() = default;

void Membership::start(boost::asio::io_context& io, LiveObjects& live_objects) {
  live_objects_ = &live_objects;
  listener_ = std::make_unique<WorkerListener>(
      io, config_.host, config_.port,
      [this](std::unique_ptr<WorkerClient> client) { on_connection(std::move(client)); });
  heartbeat_ = loop_.after(config_.heartbeat_interval, [this] { beat(); });
  log_.info("listening_for_workers", {{"host", config_.host}, {"port", listener_->port()}});
}

// ---------------------------------------------------------------------------------------------------------------
// Joining

void Membership::on_connection(std::unique_ptr<WorkerClient> client) {
  if (phase_ == Phase::draining || newcomers_.size() >= kMaxNewcomers) return;  // closes it
  const std::uint64_t id = next_newcomer_++;
  auto newcomer = std::make_unique<Newcomer>();
  Newcomer& added = *newcomer;
  added.client = std::move(client);
  added.challenge = make_challenge();
  // Handlers are called while the client's operation runs: what they end is destroyed from the loop, not under it.
  const auto forget = [this, id] { loop_.post([this, id] { newcomers_.erase(id); }); };
  added.deadline = loop_.after(protocol::kHelloTimeout, [this, id, &added] {
    log_.warn("worker_said_nothing", {{"peer", added.client->peer()}});
    newcomers_.erase(id);
  });
  newcomers_.emplace(id, std::move(newcomer));
  added.client->start({.on_message =
                           [this, &added, forget](const Message& message) {
                             on_first_message(added, message);
                             forget();
                           },
                       .on_closed = [forget](const std::string&) { forget(); },
                       .on_room = {}});
  added.client->send(added.challenge);
}

void Membership::on_first_message(Newcomer& newcomer, const Message& message) {
  if (!newcomer.client) return;  // it has spoken already
  std::unique_ptr<WorkerClient> client = std::move(newcomer.client);
  newcomer.deadline.reset();
  const auto* hello = std::get_if<Hello>(&message);
  auto refusal = hello ? find_refusal(config_.secret, newcomer.challenge, *hello)
                       : Refusal{ErrorCode::invalid_argument, "the first message of a worker is its Hello"};
  if (!refusal) refusal = admit(*hello);
  if (refusal) {
    refuse(*client, *refusal);
  } else {
    join(std::move(client), *hello);
  }
}

std::optional<Refusal> Membership::admit(const Hello& hello) {
  if (ended_groups_.contains(hello.group)) {
    return Refusal{ErrorCode::stale_epoch,
                   fmt::format("rank {} on {}: its worker group was lost or replaced; start a new "
                               "mpirun job",
                               hello.rank, hello.host)};
  }
  if (hello.group != group_) {
    if (group_ != 0) lose(fmt::format("replaced by the group of {}", hello.host));
    begin_group(hello);
  }
  if (ranks_.contains(hello.rank)) {
    return Refusal{ErrorCode::conflict, fmt::format("rank {} of this group is here already", hello.rank)};
  }
  for (const auto& [number, rank] : ranks_) {
    if (auto refusal = find_difference(rank.hello, hello)) return refusal;
  }
  return std::nullopt;
}

void Membership::refuse(WorkerClient& client, const Refusal& refusal) {
  log_.warn("worker_refused", {{"peer", client.peer()}, {"reason", refusal.message}});
  note_refused(refusal.message);
  client.send(refusal);
  client.close_after_sending();
}

void Membership::note_refused(std::string what) {
  refused_.push_back(std::move(what));
  if (refused_.size() > kMaxRefusedKept) refused_.pop_front();
}

void Membership::begin_group(const Hello& hello) {
  const auto epoch = catalogue_.next_epoch();
  // 65,536 groups would have to begin within one synced write.
  CHECK(epoch.has_value());
  group_ = hello.group;
  size_ = hello.size;
  epoch_ = *epoch;
  work_sent_ = 0;
  phase_deadline_ = loop_.now() + kPhaseTimeout;
  refused_.clear();
  log_.info("worker_group_begins", {{"epoch", epoch_.value}, {"ranks", size_}});
}

void Membership::join(std::unique_ptr<WorkerClient> client, const Hello& hello) {
  const std::uint32_t number = hello.rank;
  Rank& rank = ranks_[number];
  rank.hello = hello;
  rank.client = std::move(client);
  rank.last_heard = loop_.now();
  model_ = hello.model;
  parameters_ = hello.parameters;
  log_.info("rank_joined",
            {{"rank", number}, {"host", hello.host}, {"pid", hello.pid}, {"volumes", hello.volumes.size()}});
  for (const protocol::VolumeFailure& failure : hello.failed_volumes) {
    log_.error("volume_does_not_open", {{"rank", number}, {"path", failure.path}, {"reason", failure.reason}});
  }
  warn_of_salvaged(rank, {});
  // The connection is already reading: its events are only exchanged. They name the epoch, so that what is still under
  // way of a group that was lost changes nothing.
  const protocol::Epoch epoch = epoch_;
  rank.client->set_events({.on_message =
                               [this, number, epoch](const Message& message) {
                                 if (epoch == epoch_) on_message(number, message);
                               },
                           .on_closed =
                               [this, number, epoch](const std::string& why) {
                                 if (epoch == epoch_) on_closed(number, why);
                               },
                           .on_room =
                               [this, epoch] {
                                 if (epoch == epoch_) on_room();
                               }});
  // A rebuilt store takes its name from the volumes, which are known when all ranks are here.
  if (!config_.must_rebuild) welcome(rank);
  if (ranks_.size() == size_) on_complete();
}

void Membership::welcome(Rank& rank) {
  const protocol::StoreId store = rebuild_ ? rebuild_->store() : catalogue_.store();
  rank.client->send(protocol::Welcome{.epoch = epoch_, .store = store, .catalogue_sequence = catalogue_.sequence()});
  rank.client->set_epoch(epoch_);
}

// ---------------------------------------------------------------------------------------------------------------
// Agreeing on volumes

void Membership::on_complete() {
  phase_deadline_ = loop_.now() + kPhaseTimeout;
  if (config_.must_rebuild) return begin_rebuild();
  begin_reconcile();
}

void Membership::begin_rebuild() {
  phase_ = Phase::rebuilding;
  std::set<protocol::StoreId> stores;
  std::uint64_t sequence = 0;
  for (const auto& [number, rank] : ranks_) {
    for (const protocol::VolumeFailure& failure : rank.hello.failed_volumes) {
      return lose(fmt::format("cannot rebuild: volume {} on {} does not open ({}); repair it, or start without it",
                              failure.path, rank.hello.host, failure.reason));
    }
    for (const protocol::VolumeState& volume : rank.hello.volumes) {
      if (volume.store) stores.insert(volume.store);
      sequence = std::max(sequence, volume.catalogue_sequence);
    }
  }
  if (stores.size() > 1) {
    return lose(fmt::format("cannot rebuild: the volumes belong to {} stores; give only those of one", stores.size()));
  }
  rebuild_.emplace(stores.empty() ? catalogue_.store() : *stores.begin(), sequence);
  for (auto& [number, rank] : ranks_) {
    welcome(rank);
    for (const protocol::VolumeState& volume : rank.hello.volumes) {
      if (!volume.store) continue;
      volumes_awaited_.insert(volume.volume);
      rank.client->send(protocol::ListManifests{volume.volume});
    }
  }
  if (volumes_awaited_.empty()) finish_rebuild();
}

void Membership::on_manifest_page(const protocol::ManifestPage& page) {
  if (phase_ != Phase::rebuilding || !volumes_awaited_.contains(page.volume)) return;
  for (std::size_t i = 0; i < page.records.size() && i < page.hashes.size(); ++i) {
    rebuild_->add(page.records[i], page.hashes[i]);
  }
  if (!page.is_last) return;
  volumes_awaited_.erase(page.volume);
  if (volumes_awaited_.empty()) finish_rebuild();
}

void Membership::finish_rebuild() {
  Catalogue::Rebuilt rebuilt = rebuild_->finish();
  std::vector<ContextRecord> records;
  for (const auto& [record, ids] : rebuilt.contexts) records.push_back(record);
  const protocol::Epoch epoch = epoch_;
  config_.must_rebuild = false;
  catalogue_.rebuild(std::move(rebuilt), [this, epoch, records](const std::optional<Error>& error) {
    if (error) {
      config_.must_rebuild = true;
      if (epoch == epoch_) lose(fmt::format("the rebuilt catalogue was not written: {}", error->message()));
      return;
    }
    log_.info("catalogue_rebuilt", {{"store", catalogue_.store()}, {"contexts", records.size()}});
    rebuild_.reset();
    live_objects_->adopt(records);
    if (epoch == epoch_) begin_reconcile();
  });
}

void Membership::begin_reconcile() {
  phase_ = Phase::reconciling;
  const protocol::Epoch epoch = epoch_;
  catalogue_.barrier([this, epoch] {
    if (epoch != epoch_ || phase_ != Phase::reconciling) return;
    for (const auto& [number, rank] : ranks_) {
      for (const protocol::VolumeState& volume : rank.hello.volumes) {
        volumes_awaited_.insert(volume.volume);
        // A volume of another store is told ours too: it refuses by itself, and its rank knows then not to use it.
        auto live = volume.store == catalogue_.store() ? live_objects_->live_objects(volume.volume)
                                                       : std::vector<protocol::ReconcileVolume::Live>();
        to_reconcile_.push_back({.rank = number, .volume = volume.volume, .live = std::move(live)});
      }
    }
    if (volumes_awaited_.empty()) return finish_reconcile();
    send_reconcile_pieces();
  });
}

void Membership::send_reconcile_pieces() {
  for (VolumeToReconcile& task : to_reconcile_) {
    WorkerClient& client = *ranks_.at(task.rank).client;
    bool is_last = false;
    while (!is_last && client.has_room()) {
      const std::size_t count = std::min(kLiveObjectsPerMessage, task.live.size() - task.sent);
      const auto begin = task.live.begin() + static_cast<std::ptrdiff_t>(task.sent);
      task.sent += count;
      is_last = task.sent == task.live.size();
      client.send(protocol::ReconcileVolume{.volume = task.volume,
                                            .store = catalogue_.store(),
                                            .catalogue_sequence = catalogue_.sequence(),
                                            .live = {begin, begin + static_cast<std::ptrdiff_t>(count)},
                                            .is_last = is_last});
    }
    task.is_sent = is_last;
  }
  std::erase_if(to_reconcile_, [](const VolumeToReconcile& task) { return task.is_sent; });
}

void Membership::on_reconciled(std::uint32_t rank, const protocol::VolumeReconciled& reconciled) {
  if (phase_ != Phase::reconciling || volumes_awaited_.erase(reconciled.volume) == 0) return;
  if (reconciled.refused) {
    note_refused(
        fmt::format("volume {} of rank {}: {}. Nothing on it was touched; if its catalogue is lost, start with "
                    "--rebuild-catalogue and an empty catalogue",
                    reconciled.volume, rank, *reconciled.refused));
    log_.error("volume_refused", {{"volume", reconciled.volume}, {"rank", rank}, {"reason", refused_.back()}});
  } else {
    usable_volumes_.insert(reconciled.volume);
    damaged_.insert(damaged_.end(), reconciled.damaged.begin(), reconciled.damaged.end());
    log_.info("volume_reconciled", {{"volume", reconciled.volume},
                                    {"rank", rank},
                                    {"damaged", reconciled.damaged.size()},
                                    {"collected", reconciled.collected_objects}});
  }
  if (volumes_awaited_.empty()) finish_reconcile();
}

void Membership::finish_reconcile() {
  const protocol::Epoch epoch = epoch_;
  const auto become_ready = [this, epoch] {
    if (epoch != epoch_ || phase_ != Phase::reconciling) return;
    if (usable_volumes_.empty()) {
      log_.error("no_usable_volume", {{"epoch", epoch_.value}});
      return;  // state() says so; the group stays, and with it the reasons in refused()
    }
    phase_ = Phase::ready;
    log_.info("worker_group_ready", {{"epoch", epoch_.value}, {"ranks", size_}, {"volumes", usable_volumes_.size()}});
    for (GroupListener* listener : listeners_) listener->on_group_ready();
  };
  if (damaged_.empty()) return become_ready();
  live_objects_->mark_damaged(std::move(damaged_), become_ready);
  damaged_.clear();
}

// ---------------------------------------------------------------------------------------------------------------
// Living

void Membership::on_message(std::uint32_t number, const Message& message) {
  Rank& rank = ranks_.at(number);
  if (const auto* pong = std::get_if<protocol::Pong>(&message)) return on_pong(rank, *pong);
  if (const auto* page = std::get_if<protocol::ManifestPage>(&message)) return on_manifest_page(*page);
  if (const auto* reconciled = std::get_if<protocol::VolumeReconciled>(&message)) {
    return on_reconciled(number, *reconciled);
  }
  const bool is_of_any_rank = std::holds_alternative<protocol::ObjectVerified>(message) ||
                              std::holds_alternative<protocol::SliceRead>(message) ||
                              std::holds_alternative<protocol::SliceWritten>(message);
  if ((number != 0 && !is_of_any_rank) || phase_ != Phase::ready) return;
  for (GroupListener* listener : listeners_) listener->on_message(message);
}

void Membership::on_pong(Rank& rank, const protocol::Pong& pong) {
  metrics_.add_worker_stats(rank.stats, pong.stats);
  rank.stats = pong.stats;
  const std::vector<protocol::VolumeState> before = std::exchange(rank.hello.volumes, pong.volumes);
  warn_of_salvaged(rank, before);
}

void Membership::warn_of_salvaged(const Rank& rank, const std::vector<protocol::VolumeState>& before) {
  for (const protocol::VolumeState& volume : rank.hello.volumes) {
    const auto was_salvaged = [&](const auto& state) { return state.volume == volume.volume && state.is_salvaged; };
    if (!volume.is_salvaged || std::any_of(before.begin(), before.end(), was_salvaged)) continue;
    log_.warn(
        "volume_salvaged",
        {{"volume", fmt::format("{}", volume.volume)},
         {"path", volume.path},
         {"reason",
          "a file is damaged: nothing is compacted until its contexts are repaired or erased and it is opened again"}});
  }
}

void Membership::on_room() {
  if (phase_ == Phase::reconciling) send_reconcile_pieces();
  if (phase_ != Phase::ready || !has_room()) return;
  for (GroupListener* listener : listeners_) listener->on_room();
}

void Membership::beat() {
  heartbeat_ = loop_.after(config_.heartbeat_interval, [this] { beat(); });
  const auto now = loop_.now();
  // A loop that was stopped itself could hear nobody: that is no silence of theirs.
  const bool was_asleep = now - std::exchange(last_beat_, now) > config_.lease_timeout / 2;
  for (auto& [number, rank] : ranks_) {
    if (rank.client->take_heard() || was_asleep) rank.last_heard = now;
    if (now - rank.last_heard > config_.lease_timeout) {
      return lose(
          fmt::format("rank {} on {} was silent for {} ms", number, rank.hello.host, config_.lease_timeout.count()));
    }
  }
  if (group_ != 0 && now > phase_deadline_ && !awaited().empty()) {
    return lose(fmt::format("{} did not answer in time while {}", awaited(), state()));
  }
  // Also those that are not welcome yet: both sides know by it that the other lives.
  ++ping_;
  for (auto& [number, rank] : ranks_) rank.client->send(protocol::Ping{ping_});
}

// Whom the group waits for before it is ready; "": nobody.
std::string Membership::awaited() const {
  if (phase_ == Phase::waiting) {
    for (std::uint32_t number = 0; number < size_; ++number) {
      if (!ranks_.contains(number)) return fmt::format("rank {}", number);
    }
  }
  return volumes_awaited_.empty() ? std::string() : fmt::format("volume {}", *volumes_awaited_.begin());
}

void Membership::on_closed(std::uint32_t number, const std::string& why) {
  if (phase_ != Phase::draining) return lose(fmt::format("rank {}: {}", number, why));
  // Each rank ends by itself when it has finished.
  loop_.post([client = std::shared_ptr<WorkerClient>(std::move(ranks_.at(number).client))] {});
  ranks_.erase(number);
  if (ranks_.empty()) lose("drained");
}

void Membership::lose(const std::string& why) {
  if (group_ == 0) return;
  const bool was_ready = phase_ == Phase::ready;
  const bool is_draining = phase_ == Phase::draining;
  ended_groups_.insert(group_);
  if (ended_groups_.size() > kMaxEndedGroupsKept) ended_groups_.erase(ended_groups_.begin());
  for (auto& [number, rank] : ranks_) {
    // Its operations may be on the stack: it is destroyed from the loop.
    rank.client->close();
    loop_.post([client = std::shared_ptr<WorkerClient>(std::move(rank.client))] {});
  }
  ranks_.clear();
  group_ = 0;
  size_ = 0;
  epoch_ = {};
  rebuild_.reset();
  volumes_awaited_.clear();
  to_reconcile_.clear();
  damaged_.clear();
  usable_volumes_.clear();
  if (is_draining) {
    if (on_drained_) loop_.post(std::exchange(on_drained_, nullptr));
    return;
  }
  phase_ = Phase::waiting;
  log_.warn("worker_group_lost", {{"reason", why}});
  note_refused(why);
  metrics_.count_worker_group_lost();
  if (!was_ready) return;
  for (GroupListener* listener : listeners_) listener->on_group_lost(why);
}

void Membership::drain(std::chrono::milliseconds deadline, std::function<void()> done) {
  phase_ = Phase::draining;
  newcomers_.clear();
  if (ranks_.empty()) return loop_.post(std::move(done));
  on_drained_ = std::move(done);
  for (auto& [number, rank] : ranks_) rank.client->send(protocol::Drain{});
  drain_timer_ = loop_.after(deadline, [this] { lose("did not end in time"); });
}

// ---------------------------------------------------------------------------------------------------------------
// Asked by others

std::string Membership::state() const {
  switch (phase_) {
    case Phase::waiting:
      if (group_ == 0) return "waiting for workers";
      return fmt::format("waiting for workers: {} of {} ranks", ranks_.size(), size_);
    case Phase::rebuilding:
      return "rebuilding the catalogue from the volumes";
    case Phase::reconciling:
      if (volumes_awaited_.empty() && usable_volumes_.empty() && !refused_.empty()) {
        return fmt::format("no usable volume: {}", refused_.front());
      }
      return "reconciling";
    case Phase::ready:
      return "ready";
    case Phase::draining:
      return "draining";
  }
  return {};
}

std::uint64_t Membership::bytes_free() const {
  struct Disk {
    std::uint64_t free = 0;
    std::uint64_t taken = 0;  // at most, by its volumes: each may take all that is free
  };
  std::map<std::pair<std::string, std::uint64_t>, Disk> disks;
  for (const auto& [number, rank] : ranks_) {
    for (const protocol::VolumeState& volume : rank.hello.volumes) {
      if (!usable_volumes_.contains(volume.volume)) continue;
      Disk& disk = disks[{rank.hello.host, volume.disk}];
      disk.free = std::max(disk.free, volume.disk_bytes_free);
      disk.taken += volume.bytes_free;
    }
  }
  std::uint64_t bytes = 0;
  for (const auto& [name, disk] : disks) bytes += std::min(disk.free, disk.taken);
  return bytes;
}

protocol::Placement Membership::placement() const {
  std::vector<std::vector<protocol::VolumeId>> volumes(ranks_.size());
  for (const auto& [number, rank] : ranks_) {
    for (const protocol::VolumeState& volume : rank.hello.volumes) {
      if (usable_volumes_.contains(volume.volume)) volumes.at(number).push_back(volume.volume);
    }
    std::sort(volumes.at(number).begin(), volumes.at(number).end());
  }
  return protocol::place_lanes(volumes);
}

void Membership::send_text(const Message& message) {
  if (is_ready()) ranks_.at(0).client->send(message);
}

void Membership::send_work(const Message& message) {
  if (!is_ready()) return;
  WorkerClient& sequencer = *ranks_.at(0).client;
  // First of all it must fit: ranks that were woken wait for it.
  std::vector<std::byte> frame = sequencer.make_frame(message);
  ++work_sent_;
  for (auto& [number, rank] : ranks_) {
    if (number != 0) rank.client->send(protocol::Wake{work_sent_});
  }
  sequencer.send_frame(std::move(frame));
}

void Membership::send_all(const Message& message) {
  if (!is_ready()) return;
  for (auto& [number, rank] : ranks_) rank.client->send(message);
}

void Membership::send_to_holder(protocol::VolumeId volume, const Message& message) {
  if (phase_ != Phase::ready) return;
  for (auto& [number, rank] : ranks_) {
    const auto& held = rank.hello.volumes;
    const auto is_it = [&](const protocol::VolumeState& state) { return state.volume == volume; };
    if (std::any_of(held.begin(), held.end(), is_it)) return rank.client->send(message);
  }
}

bool Membership::has_room() const {
  return is_ready() && ranks_.at(0).client->has_room();
}

std::vector<RankView> Membership::ranks() const {
  std::vector<RankView> views;
  for (const auto& [number, rank] : ranks_) {
    views.push_back({.rank = number,
                     .host = rank.hello.host,
                     .pid = rank.hello.pid,
                     .threads = rank.hello.threads,
                     .lanes = protocol::lanes_of_rank(number, size_),
                     .volumes = rank.hello.volumes,
                     .failed_volumes = rank.hello.failed_volumes,
                     .rates = rank.hello.rates,
                     .stats = rank.stats});
  }
  return views;
}

}  // namespace rotulus::coordinator
