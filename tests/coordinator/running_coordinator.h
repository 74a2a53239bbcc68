// A whole coordinator without its HTTP face, on a loop of its own thread, over a directory that outlives it; and what
// tests ask of it. Its clock can be moved.
#pragma once

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <future>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "coordinator/cluster_service.h"
#include "coordinator/context_service.h"
#include "coordinator/query_service.h"
#include "tests/coordinator/fake_worker_group.h"

namespace rotulus::coordinator::testing {

class TemporaryDirectory final {
 public:
  TemporaryDirectory();
  ~TemporaryDirectory();
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

// Keeps the names of events.
class RecordingLog final : public Log {
 public:
  void write(LogLevel level, std::string_view event, LogFields fields) override;
  std::size_t count(std::string_view event) const;
  std::string text() const;

 private:
  mutable std::mutex mutex_;
  std::vector<std::string> events_;
  std::string text_;
};

class MovableClock final : public EventLoop {
 public:
  explicit MovableClock(std::unique_ptr<EventLoop> loop) : loop_(std::move(loop)) {}
  void advance(std::chrono::milliseconds by) { offset_ms_ += by.count(); }

  void post(std::function<void()> task) override { loop_->post(std::move(task)); }
  Timer after(std::chrono::milliseconds delay, std::function<void()> task) override {
    return loop_->after(delay, std::move(task));
  }
  void in_background(std::function<void()> work, std::function<void(std::optional<protocol::Error>)> done) override {
    loop_->in_background(std::move(work), std::move(done));
  }
  std::chrono::steady_clock::time_point now() const override {
    return loop_->now() + std::chrono::milliseconds(offset_ms_.load());
  }
  std::int64_t unix_ms() const override { return loop_->unix_ms() + offset_ms_.load(); }

 private:
  std::unique_ptr<EventLoop> loop_;
  std::atomic<std::int64_t> offset_ms_ = 0;
};

// An event loop that the test runs itself. Boost stays in the .cpp file.
class ManualLoop final {
 public:
  ManualLoop();
  ~ManualLoop();
  EventLoop& loop();
  void run_until(const bool& is_done);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

struct CoordinatorOptions {
  std::string secret;
  bool rebuild = false;
  std::size_t max_running = protocol::kMaxRunningRequests;
  std::size_t max_waiting = protocol::kMaxWaitingRequests;
  std::chrono::milliseconds heartbeat_interval = std::chrono::milliseconds(20);
  std::chrono::milliseconds lease_timeout = protocol::kLeaseTimeout;
};

// What a client sees of one query.
struct QueryRecord {
  mutable std::mutex mutex;
  std::unique_ptr<Query> query;
  std::optional<QueryUsage> started;
  std::vector<protocol::TokenId> tokens;
  std::vector<std::uint64_t> progress;
  std::size_t waits = 0;
  std::optional<QueryUsage> finished;
  QueryResult result;  // finished
  std::optional<protocol::Error> failed;

  bool is_ended() const {
    const std::lock_guard lock(mutex);
    return finished || failed;
  }
  std::vector<protocol::TokenId> tokens_now() const {
    const std::lock_guard lock(mutex);
    return tokens;
  }
};

class RunningCoordinator final {
 public:
  explicit RunningCoordinator(std::filesystem::path store, CoordinatorOptions options = {});
  ~RunningCoordinator();

  std::uint16_t port() const { return port_; }
  RecordingLog& log() { return log_; }
  MovableClock& clock() { return *loop_; }

  // Runs `task` on the loop and waits for it.
  template <typename Task>
  auto on_loop(Task task) {
    std::packaged_task<decltype(task(*this))()> packaged([this, &task] { return task(*this); });
    auto result = packaged.get_future();
    loop_->post([&packaged] { packaged(); });
    return result.get();
  }

  // Submits and waits until it is accepted (or throws the Error).
  ContextId submit(const std::string& text, protocol::ContextDescription description = {},
                   SpoolKind kind = SpoolKind::text, std::optional<std::chrono::seconds> ttl = {});
  std::optional<ContextView> find(ContextId id);
  ContextView wait_for(ContextId id, ContextStatus status);
  std::optional<protocol::Error> erase(ContextId id);
  std::shared_ptr<QueryRecord> ask(QueryRequest request);
  void drop(QueryRecord& record);  // the client goes away
  ClusterView cluster();
  void wait_until_ready();
  void lose(FakeWorkerGroup& group);  // kills it, and waits until that is noticed
  std::string metrics();

 private:
  struct Threads;
  std::unique_ptr<Threads> threads_;
  RecordingLog log_;
  std::unique_ptr<MovableClock> loop_;
  std::filesystem::path store_;
  std::vector<std::shared_ptr<QueryRecord>> asked_;  // their queries end before the services do

 public:
  // What main.cpp makes, in its order; for use on the loop.
  Metrics metrics_;
  std::unique_ptr<Catalogue> catalogue;
  std::unique_ptr<Membership> membership;
  std::unique_ptr<TextService> texts;
  std::unique_ptr<ContextService> contexts;
  std::unique_ptr<QueryService> queries;
  std::unique_ptr<ClusterService> cluster_service;

 private:
  std::uint16_t port_ = 0;
};

// Until the condition holds; fails the test after 20 s.
bool eventually(const std::function<bool()>& condition);

}  // namespace rotulus::coordinator::testing
