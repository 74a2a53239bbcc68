// Queries at work (queries.h says what the API sees): admitted in the order of their arrival, counted, planned, given
// to the worker group, and given again when the group or a chunk under them is lost.
//
// Invariants:
//   1. A token is reported once: a replay is told all tokens so far, and a token whose index is not the next is dropped
//      (an old one) or ends the query (a gap: the worker's bug).
//   2. Every start on a group has a request id of its own. Reports on any other are of a life that is over.
//   3. A query holds its context: it does not expire under it.
//   4. A query that is re-read (reread.h) runs twice: for its votes, which come as evidence and no token, then behind
//      the excerpts, a context of its own that goes with it. Lost in the first run, that is begun again; behind it
//      nothing needs the document any more.
//
// Threads: the event loop. Events are called from the loop, never from within start(). A Query that outlives this does
// nothing when it goes.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "coordinator/context_service.h"
#include "coordinator/event_loop.h"
#include "coordinator/log.h"
#include "coordinator/metrics.h"
#include "coordinator/planner.h"
#include "coordinator/queries.h"
#include "coordinator/text_service.h"
#include "coordinator/worker_group.h"
#include "protocol/limits.h"

namespace rotulus::coordinator {

struct QueryServiceConfig {
  std::filesystem::path spool_directory;
  std::size_t max_running = protocol::kMaxRunningRequests;
  std::size_t max_waiting = protocol::kMaxWaitingRequests;
  std::chrono::milliseconds group_timeout = protocol::kWorkerGroupTimeout;
  std::chrono::milliseconds waiting_interval = std::chrono::seconds(5);
};

class QueryService final : public Queries, public GroupListener {
 public:
  QueryService(EventLoop& loop, QueryServiceConfig config, ContextService& contexts, WorkerGroup& group,
               TextService& texts, Metrics& metrics, Log& log);
  ~QueryService() override;

  std::unique_ptr<Query> start(QueryRequest request, QueryEvents events) override;

  // Refuses new ones; `done` when those that run have ended, or after `deadline`, when they are failed.
  void drain(std::chrono::milliseconds deadline, std::function<void()> done);
  std::size_t running() const;
  std::size_t waiting() const { return queries_.size() - running(); }

  void on_group_ready() override { pump(); }
  void on_group_lost(const std::string& why) override;
  void on_message(const protocol::Message& message) override;
  void on_room() override { pump(); }

 private:
  struct Running;
  class Handle;
  using RunningPtr = std::shared_ptr<Running>;  // shared by the table, the handle, and callbacks under way

  void pump();
  void advance(const RunningPtr& query);
  std::optional<protocol::Error> check_request(const Running& query) const;
  void encode(const RunningPtr& query);
  void on_encoded(const RunningPtr& query, std::vector<protocol::TokenId> ids);
  void plan(const RunningPtr& query);
  std::optional<protocol::Error> plan_question(Running& query);
  std::optional<protocol::Error> plan_whole_prompt(Running& query);
  AnswerSize answer_size(const Running& query) const;
  void begin_fill(const RunningPtr& query);
  void on_fill_created(const RunningPtr& query, const ContextView& view);
  void on_fill_progress(const RunningPtr& query, const ContextView& view);
  void start_answer(const RunningPtr& query);
  static protocol::AttentionSpec attention_of(const Running& query);

  void on_context_changed(protocol::ContextId id);
  void on_token(const protocol::AnswerToken& token);
  bool is_next(const RunningPtr& query, const protocol::AnswerToken& token, std::size_t told);
  void on_answer_token(const RunningPtr& query, const protocol::AnswerToken& token);
  void on_finished(const protocol::AnswerFinished& finished);
  void on_failed(const protocol::AnswerFailed& failed);
  void requeue(const RunningPtr& query, const std::string& why);
  void read_provenance(const RunningPtr& query);
  void conclude(const RunningPtr& query);
  void gather_excerpts(const RunningPtr& query);
  void read_excerpts(const RunningPtr& query, std::uint64_t opening_tokens);
  void finish(const RunningPtr& query);
  RunningPtr by_request(protocol::RequestId request) const;

  void tick();
  void report_waiting(const RunningPtr& query);
  std::string waits_for(const Running& query) const;  // "" if it does not
  void fail(const RunningPtr& query, const protocol::Error& error);
  void cancel(const RunningPtr& query);
  void retire(const RunningPtr& query, std::string_view reason);
  QueryUsage usage(const Running& query) const;

  EventLoop& loop_;
  const QueryServiceConfig config_;
  ContextService& contexts_;
  WorkerGroup& group_;
  TextService& texts_;
  Metrics& metrics_;
  Log& log_;
  std::uint64_t last_query_ = 0;
  std::uint64_t last_request_ = 0;
  std::map<std::uint64_t, RunningPtr> queries_;  // by arrival
  std::map<protocol::RequestId, RunningPtr> on_workers_;
  Timer tick_;
  Timer drain_deadline_;
  std::function<void()> on_drained_;
  bool is_draining_ = false;
  std::shared_ptr<void> alive_ = std::make_shared<char>();  // handles refer to it
};

}  // namespace rotulus::coordinator
