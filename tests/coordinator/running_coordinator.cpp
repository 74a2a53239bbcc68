#include "tests/coordinator/running_coordinator.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/thread_pool.hpp>
#include <thread>

namespace rotulus::coordinator::testing {

TemporaryDirectory::TemporaryDirectory() {
  std::string name = (std::filesystem::temp_directory_path() / "rotulus-coordinator-XXXXXX").string();
  CHECK(::mkdtemp(name.data()) != nullptr, name);
  path_ = name;
}
TemporaryDirectory::~TemporaryDirectory() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

void RecordingLog::write(LogLevel, std::string_view event, LogFields fields) {
  const std::lock_guard lock(mutex_);
  events_.emplace_back(event);
  text_ += event;
  for (const LogField& field : fields) text_ += fmt::format(" {}={}", field.name, field.value);
  text_ += '\n';
}
std::size_t RecordingLog::count(std::string_view event) const {
  const std::lock_guard lock(mutex_);
  return static_cast<std::size_t>(std::count(events_.begin(), events_.end(), event));
}
std::string RecordingLog::text() const {
  const std::lock_guard lock(mutex_);
  return text_;
}

bool eventually(const std::function<bool()>& condition) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return true;
}

struct ManualLoop::State {
  boost::asio::io_context io{1};
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work{io.get_executor()};
  boost::asio::thread_pool files{1};
  std::unique_ptr<EventLoop> loop = make_event_loop(io, files);
};

ManualLoop::ManualLoop() : state_(std::make_unique<State>()) {}
ManualLoop::~ManualLoop() {
  state_->files.join();
}
EventLoop& ManualLoop::loop() {
  return *state_->loop;
}
void ManualLoop::run_until(const bool& is_done) {
  while (!is_done) state_->io.run_one();
}

struct RunningCoordinator::Threads {
  boost::asio::io_context io{1};
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work{io.get_executor()};
  boost::asio::thread_pool files{1};
  std::thread loop;
};

RunningCoordinator::RunningCoordinator(std::filesystem::path store, CoordinatorOptions options)
    : threads_(std::make_unique<Threads>()),
      loop_(std::make_unique<MovableClock>(make_event_loop(threads_->io, threads_->files))),
      store_(std::move(store)) {
  catalogue = Catalogue::open(store_ / "catalogue", *loop_, log_, options.rebuild);
  MembershipConfig config{.secret = options.secret, .must_rebuild = options.rebuild && catalogue->is_empty()};
  config.heartbeat_interval = options.heartbeat_interval;
  config.lease_timeout = options.lease_timeout;
  membership = std::make_unique<Membership>(*loop_, config, *catalogue, metrics_, log_);
  texts = std::make_unique<TextService>(*loop_, *membership);
  contexts = std::make_unique<ContextService>(
      *loop_, ContextServiceConfig{.spool_directory = store_ / "spool", .retry_delay = std::chrono::milliseconds(1)},
      *catalogue, *membership, *texts, metrics_, log_);
  queries = std::make_unique<QueryService>(
      *loop_,
      QueryServiceConfig{
          .spool_directory = store_ / "spool", .max_running = options.max_running, .max_waiting = options.max_waiting},
      *contexts, *membership, *texts, metrics_, log_);
  cluster_service = std::make_unique<ClusterService>(*membership, *texts, *catalogue, "");
  membership->add_listener(*texts);
  membership->add_listener(*contexts);
  membership->add_listener(*queries);
  membership->start(threads_->io, *contexts);
  port_ = membership->port();
  threads_->loop = std::thread([this] { threads_->io.run(); });
}

RunningCoordinator::~RunningCoordinator() {
  for (const auto& record : asked_) drop(*record);
  threads_->io.stop();
  threads_->loop.join();
  threads_->files.join();
}

ContextId RunningCoordinator::submit(const std::string& text, protocol::ContextDescription description, SpoolKind kind,
                                     std::optional<std::chrono::seconds> ttl) {
  SpoolWriter writer(store_ / "spool", kind);
  writer.append(text);
  const SpooledDocument document = writer.finish();
  std::promise<ContextId> accepted;
  on_loop([&](auto& self) {
    self.contexts->create({description, document, ttl},
                          [&](const std::optional<protocol::Error>& error, const ContextView& view) {
                            if (error) {
                              accepted.set_exception(std::make_exception_ptr(*error));
                            } else {
                              accepted.set_value(view.id);
                            }
                          });
  });
  return accepted.get_future().get();
}

std::optional<ContextView> RunningCoordinator::find(ContextId id) {
  return on_loop([&](auto& self) { return self.contexts->find(id); });
}

ContextView RunningCoordinator::wait_for(ContextId id, ContextStatus status) {
  ContextView view;
  const bool has_come = eventually([&] {
    const auto found = find(id);
    if (found) view = *found;
    return found && found->status == status;
  });
  EXPECT_TRUE(has_come) << "is " << to_string(view.status) << " "
                        << (view.last_error ? view.last_error->message() : std::string()) << "\n"
                        << log_.text();
  return view;
}

std::optional<protocol::Error> RunningCoordinator::erase(ContextId id) {
  std::promise<std::optional<protocol::Error>> erased;
  on_loop([&](auto& self) { self.contexts->erase(id, [&](const auto& error) { erased.set_value(error); }); });
  return erased.get_future().get();
}

std::shared_ptr<QueryRecord> RunningCoordinator::ask(QueryRequest request) {
  auto record = std::make_shared<QueryRecord>();
  QueryEvents events;
  events.on_started = [record](const QueryUsage& usage) {
    const std::lock_guard lock(record->mutex);
    record->started = usage;
  };
  events.on_progress = [record](std::uint64_t processed, std::uint64_t) {
    const std::lock_guard lock(record->mutex);
    record->progress.push_back(processed);
  };
  events.on_token = [record](const protocol::AnswerToken& token) {
    const std::lock_guard lock(record->mutex);
    record->tokens.push_back(token.token);
  };
  events.on_waiting = [record](const std::string&) {
    const std::lock_guard lock(record->mutex);
    ++record->waits;
  };
  events.on_finished = [record](const QueryResult& result) {
    const std::lock_guard lock(record->mutex);
    record->finished = result.usage;
    record->result = result;
  };
  events.on_failed = [record](const QueryFailure& failure) {
    const std::lock_guard lock(record->mutex);
    record->failed = failure.error;
  };
  on_loop([&](auto& self) { record->query = self.queries->start(std::move(request), std::move(events)); });
  asked_.push_back(record);
  return record;
}

void RunningCoordinator::drop(QueryRecord& record) {
  on_loop([&](auto&) { record.query.reset(); });
}

ClusterView RunningCoordinator::cluster() {
  return on_loop([](auto& self) { return self.cluster_service->view(); });
}

void RunningCoordinator::wait_until_ready() {
  EXPECT_TRUE(eventually([&] { return cluster().is_ready; })) << cluster().state << "\n" << log_.text();
}

void RunningCoordinator::lose(FakeWorkerGroup& group) {
  group.kill();
  EXPECT_TRUE(eventually([&] { return !cluster().is_ready; })) << log_.text();
}

std::string RunningCoordinator::metrics() {
  return on_loop([](auto& self) { return self.metrics_.serialize(); });
}

}  // namespace rotulus::coordinator::testing
