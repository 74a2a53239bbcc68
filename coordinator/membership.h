// Who computes: the handshake of ranks, the life of a worker group, its heartbeat, and the agreement of its volumes
// with the catalogue before anything runs.
//
//   waiting for ranks -> (rebuilding) -> reconciling -> ready -> draining
//
// Invariants:
//   1. There is one group at a time; its epoch is later than that of any before, over all lives of the store.
//   2. A new group replaces the old one; a group that was lost never comes back: its ranks are refused as stale.
//   3. Losing one rank loses the group: its MPI job ends with the rank.
//   4. Volumes are reconciled against what is durable: first every change given before is waited for, and none is made
//      while no group is ready.
//
// Threads: the event loop.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "coordinator/catalogue.h"
#include "coordinator/cluster.h"
#include "coordinator/event_loop.h"
#include "coordinator/log.h"
#include "coordinator/metrics.h"
#include "coordinator/rebuild.h"
#include "coordinator/worker_client.h"
#include "coordinator/worker_group.h"
#include "protocol/limits.h"

namespace rotulus::coordinator {

struct MembershipConfig {
  std::string host = "127.0.0.1";
  std::uint16_t port = 0;
  std::string secret;         // empty: none is asked for
  bool must_rebuild = false;  // the catalogue is empty, and is to be restored from the volumes of the first group
  std::chrono::milliseconds heartbeat_interval = protocol::kHeartbeatInterval;
  std::chrono::milliseconds lease_timeout = protocol::kLeaseTimeout;
};

// What the catalogue names, as its keeper (the contexts) holds it in memory.
class LiveObjects {
 public:
  virtual ~LiveObjects() = default;
  virtual std::vector<protocol::ReconcileVolume::Live> live_objects(protocol::VolumeId volume) const = 0;
  // These cannot be used as the catalogue names them: their chunks are to be computed again. `done` when that is
  // durable.
  virtual void mark_damaged(std::vector<protocol::ObjectId> objects, std::function<void()> done) = 0;
  virtual void adopt(std::vector<ContextRecord> rebuilt) = 0;
};

class Membership final : public WorkerGroup {
 public:
  Membership(EventLoop& loop, MembershipConfig config, Catalogue& catalogue, Metrics& metrics, Log& log);
  ~Membership() override;

  // Opens the port. Throws Error{unavailable} if it cannot.
  void start(boost::asio::io_context& io, LiveObjects& live_objects);
  void add_listener(GroupListener& listener) { listeners_.push_back(&listener); }
  std::uint16_t port() const { return listener_->port(); }
  // Tells all ranks to finish; `done` when their connections are closed, or after `deadline`. Takes no new ones.
  void drain(std::chrono::milliseconds deadline, std::function<void()> done);

  bool is_ready() const override { return phase_ == Phase::ready; }
  protocol::Epoch epoch() const override { return epoch_; }
  std::string state() const override;
  bool has_model() const override { return model_.has_value(); }
  const protocol::ModelFacts& model() const override { return *model_; }
  const protocol::ContextParameters& parameters() const override { return *parameters_; }
  bool holds(protocol::VolumeId volume) const override { return usable_volumes_.contains(volume); }
  std::uint64_t bytes_free() const override;
  protocol::Placement placement() const override;
  void send_text(const protocol::Message& message) override;
  void send_work(const protocol::Message& message) override;
  void send_all(const protocol::Message& message) override;
  void send_to_holder(protocol::VolumeId volume, const protocol::Message& message) override;
  bool has_room() const override;

  std::vector<RankView> ranks() const;
  const std::deque<std::string>& refused() const { return refused_; }

 private:
  enum class Phase : std::uint8_t { waiting, rebuilding, reconciling, ready, draining };
  struct Newcomer;  // connected, no Hello yet
  struct Rank {
    protocol::Hello hello;
    std::unique_ptr<WorkerClient> client;
    protocol::WorkerStats stats;
    std::chrono::steady_clock::time_point last_heard;
  };
  struct VolumeToReconcile {
    std::uint32_t rank = 0;
    protocol::VolumeId volume;
    std::vector<protocol::ReconcileVolume::Live> live;
    std::size_t sent = 0;
    bool is_sent = false;
  };

  void on_connection(std::unique_ptr<WorkerClient> client);
  void on_first_message(Newcomer& newcomer, const protocol::Message& message);
  std::optional<protocol::Refusal> admit(const protocol::Hello& hello);
  void refuse(WorkerClient& client, const protocol::Refusal& refusal);
  void note_refused(std::string what);
  void begin_group(const protocol::Hello& hello);
  void join(std::unique_ptr<WorkerClient> client, const protocol::Hello& hello);
  void welcome(Rank& rank);

  void on_complete();
  void begin_rebuild();
  void on_manifest_page(const protocol::ManifestPage& page);
  void finish_rebuild();
  void begin_reconcile();
  void send_reconcile_pieces();
  void on_reconciled(std::uint32_t rank, const protocol::VolumeReconciled& reconciled);
  void finish_reconcile();

  void on_message(std::uint32_t rank, const protocol::Message& message);
  void on_pong(Rank& rank, const protocol::Pong& pong);
  // Of the volumes that were not so `before`.
  void warn_of_salvaged(const Rank& rank, const std::vector<protocol::VolumeState>& before);
  void on_room();
  std::string awaited() const;
  void on_closed(std::uint32_t rank, const std::string& why);
  void beat();
  void lose(const std::string& why);

  EventLoop& loop_;
  MembershipConfig config_;
  Catalogue& catalogue_;
  LiveObjects* live_objects_ = nullptr;
  Metrics& metrics_;
  Log& log_;
  std::vector<GroupListener*> listeners_;
  std::map<std::uint64_t, std::unique_ptr<Newcomer>> newcomers_;
  std::uint64_t next_newcomer_ = 0;

  Phase phase_ = Phase::waiting;
  std::uint64_t group_ = 0;
  std::uint32_t size_ = 0;
  protocol::Epoch epoch_;
  std::map<std::uint32_t, Rank> ranks_;
  std::set<std::uint64_t> ended_groups_;
  std::optional<protocol::ModelFacts> model_;
  std::optional<protocol::ContextParameters> parameters_;
  std::uint64_t work_sent_ = 0;
  std::uint64_t ping_ = 0;
  std::chrono::steady_clock::time_point last_beat_;

  std::optional<CatalogueRebuild> rebuild_;
  std::set<protocol::VolumeId> volumes_awaited_;  // to list their manifests, or to be reconciled
  std::vector<VolumeToReconcile> to_reconcile_;
  std::vector<protocol::ObjectId> damaged_;
  std::set<protocol::VolumeId> usable_volumes_;
  std::deque<std::string> refused_;
  std::chrono::steady_clock::time_point phase_deadline_;
  std::function<void()> on_drained_;
  Timer drain_timer_;
  Timer heartbeat_;
  std::unique_ptr<WorkerListener> listener_;
};

}  // namespace rotulus::coordinator
