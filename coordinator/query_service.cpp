#include "coordinator/query_service.h"

#include <algorithm>
#include <utility>

#include "coordinator/catalogue_records.h"
#include "coordinator/reread.h"

namespace rotulus::coordinator {

using protocol::Error;
using protocol::ErrorCode;
using protocol::TokenId;
using Clock = std::chrono::steady_clock;

namespace {

constexpr auto kTickInterval = std::chrono::milliseconds(500);
// Without a new token in between. A lost group is most often not the query's fault.
constexpr int kMaxReplays = 16;
constexpr int kMaxRetries = 3;

double ms_between(Clock::time_point begin, Clock::time_point end) {
  return std::chrono::duration<double, std::milli>(end - begin).count();
}

// The answer could not go on where it ran, but may where its context is whole.
bool may_be_retried(ErrorCode code) {
  return code == ErrorCode::storage_corrupt || code == ErrorCode::transport_lost || code == ErrorCode::not_found ||
         code == ErrorCode::cancelled;
}

// From a copy: whoever is told may destroy the query, and its events with it.
template <typename Event, typename... Values>
void tell(const Event& event, const Values&... values) {
  const Event copy = event;
  if (copy) copy(values...);
}

std::string_view to_string(protocol::FinishReason reason) {
  return reason == protocol::FinishReason::stop ? "stop" : "length";
}

}  // namespace

struct QueryService::Running {
  enum class Phase : std::uint8_t {
    arrived,
    encoding,
    planned,
    filling,
    ready,
    on_workers,
    answered,  // its provenance, or what is to be read again, is to be gathered
    reading,
    ended
  };
  enum class Run : std::uint8_t { only, votes, excerpts };  // re-reading has two

  std::uint64_t number = 0;
  QueryRequest request;
  QueryEvents events;
  Phase phase = Phase::arrived;
  bool is_admitted = false;
  Run run = Run::only;

  protocol::ContextId context;   // 0: none
  bool is_context_ours = false;  // made for this prompt, or of excerpts
  std::uint64_t context_tokens = 0;
  std::vector<TokenId> fill;  // planned: what goes into our context
  std::vector<TokenId> question;
  AnswerPlan plan;
  std::shared_ptr<void> hold;
  std::shared_ptr<void> subscription;

  protocol::RequestId on_request;  // while on the workers
  std::size_t question_told = 0;   // tokens of a prompt that is scored, given to the client
  std::vector<TokenId> tokens;     // given to the client
  int replays = 0;
  int retries = 0;
  QueryResult result;  // answered

  Clock::time_point arrived_at;
  Clock::time_point started_at;
  Clock::time_point first_token_at;
  Clock::time_point last_token_at;
  double fill_ms = 0;
  std::optional<Clock::time_point> stalled_since;  // no group is ready
  std::optional<Clock::time_point> told_waiting_at;
};

class QueryService::Handle final : public Query {
 public:
  Handle(QueryService& service, RunningPtr query)
      : service_(service), alive_(service.alive_), query_(std::move(query)) {}
  ~Handle() override {
    if (!alive_.expired()) service_.cancel(query_);
  }

 private:
  QueryService& service_;
  std::weak_ptr<void> alive_;
  RunningPtr query_;
};

QueryService::QueryService(EventLoop& loop, QueryServiceConfig config, ContextService& contexts, WorkerGroup& group,
                           TextService& texts, Metrics& metrics, Log& log)
    : loop_(loop),
      config_(std::move(config)),
      contexts_(contexts),
      group_(group),
      texts_(texts),
      metrics_(metrics),
      log_(log) {
  // From the loop: contexts may be in the middle of a change of several.
  contexts_.set_observer([this](protocol::ContextId id) { loop_.post([this, id] { on_context_changed(id); }); });
}

// Callbacks under way may keep a query longer than this, but not what it borrows.
QueryService::~QueryService() {
  for (const auto& [number, query] : queries_) {
    query->phase = Running::Phase::ended;
    query->subscription.reset();
    query->hold.reset();
  }
}

std::unique_ptr<Query> QueryService::start(QueryRequest request, QueryEvents events) {
  auto query = std::make_shared<Running>();
  query->number = ++last_query_;
  query->request = std::move(request);
  query->events = std::move(events);
  query->arrived_at = loop_.now();
  std::optional<Error> refusal;
  if (is_draining_) {
    refusal = Error(ErrorCode::unavailable, "the server is shutting down");
  } else if (queries_.size() >= config_.max_running + config_.max_waiting) {
    refusal = Error(ErrorCode::unavailable, fmt::format("{} requests run and {} wait already; try again later",
                                                        config_.max_running, config_.max_waiting));
  }
  queries_.emplace(query->number, query);
  if (!tick_) tick_ = loop_.after(kTickInterval, [this] { tick(); });
  loop_.post([this, query, refusal] {
    if (query->phase == Running::Phase::ended) return;
    if (const auto error = refusal ? refusal : check_request(*query)) return fail(query, *error);
    pump();
  });
  return std::make_unique<Handle>(*this, query);
}

std::size_t QueryService::running() const {
  return static_cast<std::size_t>(
      std::count_if(queries_.begin(), queries_.end(), [](const auto& item) { return item.second->is_admitted; }));
}

// ---------------------------------------------------------------------------------------------------------------
// From arrival to the workers

void QueryService::pump() {
  std::size_t admitted = running();
  // A copy: a query may end, and its client begin another, while it is advanced.
  std::vector<RunningPtr> in_order;
  for (const auto& [number, query] : queries_) in_order.push_back(query);
  for (const RunningPtr& query : in_order) {
    if (group_.is_ready()) {
      query->stalled_since.reset();
    } else if (!query->stalled_since) {
      query->stalled_since = loop_.now();
    }
    if (!query->is_admitted && admitted < config_.max_running) {
      query->is_admitted = true;
      ++admitted;
    }
    if (query->is_admitted) advance(query);
  }
}

void QueryService::advance(const RunningPtr& query) {
  switch (query->phase) {
    case Running::Phase::arrived:
      if (group_.is_ready()) encode(query);
      return;
    case Running::Phase::planned:
      if (group_.is_ready()) begin_fill(query);
      return;
    case Running::Phase::ready:
      if (group_.has_room()) start_answer(query);
      return;
    case Running::Phase::answered:
      if (group_.is_ready()) conclude(query);
      return;
    case Running::Phase::encoding:
    case Running::Phase::filling:
    case Running::Phase::on_workers:
    case Running::Phase::reading:
    case Running::Phase::ended:
      return;
  }
}

// What can be said without the workers.
std::optional<Error> QueryService::check_request(const Running& query) const {
  const QueryRequest& request = query.request;
  if (request.max_tokens == 0u && !request.scores_prompt)
    return Error(ErrorCode::invalid_argument, "max_tokens must be at least 1", "max_tokens");
  if (!request.context) return std::nullopt;
  const auto view = contexts_.find(*request.context);
  if (!view) {
    return Error(ErrorCode::not_found, fmt::format("no context {}", protocol::to_string(*request.context)),
                 "context_id");
  }
  const Usability usability = contexts_.usability(contexts_.version(*request.context));
  if (usability.state == Usability::State::unusable) return usability.error;
  if (view->description.frame == protocol::Frame::raw &&
      std::holds_alternative<std::vector<protocol::ChatMessage>>(request.prompt)) {
    return Error(ErrorCode::invalid_argument,
                 fmt::format("{} has the frame raw, in which there are no messages: ask it through /v1/completions",
                             protocol::to_string(*request.context)),
                 "messages");
  }
  return std::nullopt;
}

void QueryService::encode(const RunningPtr& query) {
  query->phase = Running::Phase::encoding;
  const bool has_context = query->request.context.has_value();
  using Kind = protocol::EncodeText::Kind;
  protocol::EncodeText text;
  if (const auto* ids = std::get_if<std::vector<TokenId>>(&query->request.prompt)) return on_encoded(query, *ids);
  if (const auto* prompt = std::get_if<std::string>(&query->request.prompt)) {
    text.kind = has_context ? Kind::raw_question : Kind::prompt;
    text.text = *prompt;
  } else {
    text.kind = has_context ? Kind::question : Kind::conversation;
    text.messages = std::get<std::vector<protocol::ChatMessage>>(query->request.prompt);
  }
  texts_.encode(std::move(text), [this, query](const std::optional<Error>& error, std::vector<TokenId> ids) {
    if (query->phase != Running::Phase::encoding) return;
    if (!error) return on_encoded(query, std::move(ids));
    if (error->code() != ErrorCode::unavailable) return fail(query, *error);
    query->phase = Running::Phase::arrived;  // the group was lost: with the next one
    pump();
  });
}

void QueryService::on_encoded(const RunningPtr& query, std::vector<TokenId> ids) {
  const std::uint32_t vocabulary = group_.model().vocabulary;
  const auto wrong = std::find_if(ids.begin(), ids.end(), [&](TokenId id) { return id >= vocabulary; });
  if (wrong != ids.end()) {
    return fail(query, Error(ErrorCode::invalid_argument,
                             fmt::format("token {} at index {} is not in the model's vocabulary of {}", *wrong,
                                         wrong - ids.begin(), vocabulary),
                             "prompt"));
  }
  if (ids.empty()) return fail(query, Error(ErrorCode::invalid_argument, "the prompt has no token", "prompt"));
  if (query->request.scores_prompt && ids.size() > protocol::kMaxEchoedTokens) {
    return fail(query, Error(ErrorCode::invalid_argument,
                             fmt::format("the prompt has {} tokens; at most {} are scored: give what comes before them "
                                         "as a context",
                                         ids.size(), protocol::kMaxEchoedTokens),
                             "prompt"));
  }
  query->question = std::move(ids);
  plan(query);
}

void QueryService::plan(const RunningPtr& query) {
  const auto error = query->request.context ? plan_question(*query) : plan_whole_prompt(*query);
  if (error) return fail(query, *error);
  if (query->request.attention.reread_tokens > 0 && query->plan.mode == protocol::AttentionMode::retrieval) {
    query->result.reread.emplace();
    query->run = Running::Run::votes;
  }
  query->started_at = loop_.now();
  query->phase = query->is_context_ours ? Running::Phase::planned : Running::Phase::ready;
  const QueryUsage counted = usage(*query);
  metrics_.add_prompt_tokens(counted.prompt_tokens, counted.cached_tokens);
  tell(query->events.on_started, counted);
  advance(query);
}

AnswerSize QueryService::answer_size(const Running& query) const {
  AnswerSize size{.context_tokens = query.context_tokens, .question_tokens = query.question.size()};
  size.max_tokens = query.request.max_tokens;
  size.window = group_.model().context_length;
  size.layers = group_.model().layers;
  size.attention = query.request.attention;
  return size;
}

std::optional<Error> QueryService::plan_question(Running& query) {
  const protocol::ContextId id = *query.request.context;
  const auto view = contexts_.find(id);
  if (!view) return contexts_.usability(id).error;
  query.context_tokens = view->description.token_count;
  AnswerSize size = answer_size(query);
  const protocol::RetrievalParameters& kept = view->parameters.retrieval;
  size.landmarks = kept.landmark_version != 0 ? kept.landmarks : 0;
  const auto planned = plan_answer(size);
  if (const auto* error = std::get_if<Error>(&planned)) return *error;
  query.plan = std::get<AnswerPlan>(planned);
  query.context = contexts_.version(id);  // whatever is appended meanwhile
  query.hold = contexts_.hold(query.context);
  return std::nullopt;
}

// All but the question at its end becomes a context of its own; one that is scored is all question.
std::optional<Error> QueryService::plan_whole_prompt(Running& query) {
  if (query.request.scores_prompt) {
    const auto planned = plan_answer(answer_size(query));
    if (const auto* error = std::get_if<Error>(&planned)) return *error;
    query.plan = std::get<AnswerPlan>(planned);
    return std::nullopt;
  }
  PromptSize size{.tokens = query.question.size(), .max_tokens = query.request.max_tokens};
  size.window = group_.model().context_length;
  size.layers = group_.model().layers;
  size.attention = query.request.attention;
  const auto planned = plan_prompt(size);
  if (const auto* error = std::get_if<Error>(&planned)) return *error;
  const auto& plan = std::get<PromptPlan>(planned);
  const auto begin = query.question.begin() + static_cast<std::ptrdiff_t>(plan.context_tokens);
  query.plan = plan.answer;
  query.context_tokens = plan.context_tokens;
  query.is_context_ours = plan.context_tokens > 0;
  query.fill.assign(query.question.begin(), begin);
  query.question.erase(query.question.begin(), begin);
  return std::nullopt;
}

void QueryService::begin_fill(const RunningPtr& query) {
  query->phase = Running::Phase::filling;
  const std::string bytes = records::token_ids_value(std::exchange(query->fill, {}));
  auto document = std::make_shared<SpooledDocument>();
  loop_.in_background(
      [document, bytes, directory = config_.spool_directory] {
        SpoolWriter writer(directory, SpoolKind::token_ids);
        writer.append(bytes);
        *document = writer.finish();
      },
      [this, query, document](const std::optional<Error>& error) {
        if (error) return fail(query, *error);
        NewContext context{.description = {}, .document = *document};
        context.description.frame = protocol::Frame::raw;
        context.description.is_anonymous = true;
        context.description.attention = query->plan.mode;
        contexts_.create(std::move(context),
                         [this, query](const std::optional<Error>& refused, const ContextView& view) {
                           if (refused) return fail(query, *refused);
                           on_fill_created(query, view);
                         });
      });
}

void QueryService::on_fill_created(const RunningPtr& query, const ContextView& view) {
  if (query->phase == Running::Phase::ended) return contexts_.erase(view.id, [](const auto&) {});
  query->context = view.id;
  query->hold = contexts_.hold(view.id);
  query->subscription = contexts_.subscribe(view.id, [this, weak = std::weak_ptr(query)](const ContextEvent& event) {
    const auto alive = weak.lock();
    if (alive && alive->phase == Running::Phase::filling) on_fill_progress(alive, event.view);
  });
}

void QueryService::on_fill_progress(const RunningPtr& query, const ContextView& view) {
  if (view.status == ContextStatus::failed || view.status == ContextStatus::cancelled) {
    return fail(query, view.last_error.value_or(Error(ErrorCode::cancelled, "the prompt's context was cancelled")));
  }
  const bool is_told = query->run != Running::Run::excerpts && view.progress.total > 0;
  if (is_told) tell(query->events.on_progress, view.progress.processed, view.progress.total);
  if (view.status != ContextStatus::completed || query->phase != Running::Phase::filling) return;
  query->phase = Running::Phase::ready;
  query->fill_ms = ms_between(query->started_at, loop_.now());
  if (query->run == Running::Run::excerpts) {
    query->result.reread->computed_tokens = view.progress.total - std::min(view.shared_tokens, view.progress.total);
  }
  loop_.post([this] { pump(); });
}

void QueryService::start_answer(const RunningPtr& query) {
  if (query->context) {
    const Usability usability = contexts_.usability(query->context);
    if (usability.state == Usability::State::unusable) return fail(query, *usability.error);
    if (usability.state == Usability::State::in_repair) return;  // until on_context_changed()
  }
  protocol::StartAnswer start{.request = protocol::RequestId{++last_request_}, .context = query->context};
  start.question = query->question;
  start.forced = query->tokens;
  start.sampling = query->request.sampling;
  const bool is_answer = query->run != Running::Run::votes;
  start.max_tokens = is_answer ? query->plan.max_tokens : 0;
  start.stop = query->request.stop;
  start.ignore_eos = query->request.ignore_eos;
  start.attention = attention_of(*query);
  start.scores_question = is_answer && query->request.scores_prompt;
  try {
    if (query->context) contexts_.open_on_group(query->context);
    group_.send_work(start);
  } catch (const Error& too_large) {
    return fail(query, too_large);
  }
  const bool is_first = query->tokens.empty() && query->replays + query->retries == 0;
  if (is_first && query->run != Running::Run::excerpts) {
    metrics_.observe_queue_time(ms_between(query->arrived_at, loop_.now()) / 1000);
  }
  query->phase = Running::Phase::on_workers;
  query->on_request = start.request;
  query->told_waiting_at.reset();
  on_workers_[start.request] = query;
}

protocol::AttentionSpec QueryService::attention_of(const Running& query) {
  if (query.run == Running::Run::excerpts) return {.mode = protocol::AttentionMode::exact};
  protocol::AttentionSpec attention = query.request.attention;
  attention.mode = query.plan.mode;
  attention.reread_tokens = 0;
  if (query.run == Running::Run::votes) {
    attention.wants_provenance = true;
    attention.second_pass = false;                                   // the first has voted
    attention.positions = protocol::PositionPolicy::block_constant;  // no page is preferred for where it stands
  }
  return attention;
}

// ---------------------------------------------------------------------------------------------------------------
// What the workers report

QueryService::RunningPtr QueryService::by_request(protocol::RequestId request) const {
  const auto found = on_workers_.find(request);
  return found == on_workers_.end() ? nullptr : found->second;
}

void QueryService::on_message(const protocol::Message& message) {
  if (const auto* token = std::get_if<protocol::AnswerToken>(&message)) return on_token(*token);
  if (const auto* finished = std::get_if<protocol::AnswerFinished>(&message)) return on_finished(*finished);
  if (const auto* failed = std::get_if<protocol::AnswerFailed>(&message)) return on_failed(*failed);
}

void QueryService::on_token(const protocol::AnswerToken& token) {
  const RunningPtr query = by_request(token.request);
  if (!query) return;
  if (!token.is_of_question) return on_answer_token(query, token);
  if (!is_next(query, token, query->question_told)) return;
  ++query->question_told;
  tell(query->events.on_token, token);
}

// Whether it has not been told yet; a gap ends the query.
bool QueryService::is_next(const RunningPtr& query, const protocol::AnswerToken& token, std::size_t told) {
  if (token.index > told) {
    fail(query,
         Error(ErrorCode::internal, fmt::format("the workers reported token {} of {} of which {} are known",
                                                token.index, token.is_of_question ? "a question" : "an answer", told)));
  }
  return token.index == told;
}

void QueryService::on_answer_token(const RunningPtr& query, const protocol::AnswerToken& token) {
  if (!is_next(query, token, query->tokens.size())) return;
  const auto now = loop_.now();
  if (query->tokens.empty()) {
    query->first_token_at = now;
    metrics_.observe_time_to_first_token(ms_between(query->arrived_at, now) / 1000);
  } else {
    metrics_.observe_inter_token_latency(ms_between(query->last_token_at, now) / 1000);
  }
  query->last_token_at = now;
  query->replays = 0;
  query->retries = 0;
  query->tokens.push_back(token.token);
  metrics_.add_generation_token();
  tell(query->events.on_token, token);
}

void QueryService::on_finished(const protocol::AnswerFinished& finished) {
  const RunningPtr query = by_request(finished.request);
  if (!query) return;
  QueryResult& result = query->result;
  result.reason = finished.reason;
  result.rest_of_text = finished.text;
  result.timings.queue_ms = ms_between(query->arrived_at, query->started_at);
  result.timings.prompt_ms = query->fill_ms + finished.prompt_ms;
  result.timings.predicted_ms = finished.predicted_ms;
  result.usage = usage(*query);
  // Of a query that is re-read: what chose the excerpts.
  if (query->run != Running::Run::excerpts) result.attention = finished.attention;
  if (query->run != Running::Run::votes) metrics_.count_answer(result.attention.mode);
  on_workers_.erase(query->on_request);
  query->phase = Running::Phase::answered;
  conclude(query);
  pump();
}

// What follows the end of a run.
void QueryService::conclude(const RunningPtr& query) {
  const bool wants_text = query->request.attention.wants_provenance && query->result.provenance.empty();
  if (wants_text && !query->result.attention.evidence.empty()) return read_provenance(query);
  if (query->run == Running::Run::votes) return gather_excerpts(query);
  finish(query);
}

void QueryService::read_provenance(const RunningPtr& query) {
  query->phase = Running::Phase::reading;
  std::vector<protocol::TokenRange> ranges;
  for (const protocol::Evidence& evidence : query->result.attention.evidence) ranges.push_back(evidence.range);
  contexts_.read_passages(query->context, std::move(ranges),
                          [this, query](const std::optional<Error>& error, const std::vector<std::string>& passages) {
                            if (query->phase != Running::Phase::reading) return;
                            query->phase = Running::Phase::answered;
                            if (error && error->code() == ErrorCode::unavailable)
                              return pump();  // the group was lost: with the next one
                            if (error) return fail(query, *error);
                            const auto& evidence = query->result.attention.evidence;
                            for (std::size_t i = 0; i < evidence.size(); ++i) {
                              query->result.provenance.push_back({evidence[i].range, evidence[i].mass, passages.at(i)});
                            }
                            conclude(query);
                            pump();
                          });
}

// ---------------------------------------------------------------------------------------------------------------
// Re-reading

void QueryService::gather_excerpts(const RunningPtr& query) {
  protocol::ContextDescription framed{.frame = protocol::Frame::raw};
  if (query->request.context) {
    const auto view = contexts_.find(*query->request.context);
    if (!view) return fail(query, *contexts_.usability(*query->request.context).error);
    framed = view->description;
  }
  query->phase = Running::Phase::reading;
  texts_.open_frame(framed.frame, framed.system,
                    [this, query](const std::optional<Error>& error, const std::vector<TokenId>& opening) {
                      if (query->phase != Running::Phase::reading) return;
                      if (!error) return read_excerpts(query, opening.size());
                      if (error->code() != ErrorCode::unavailable) return fail(query, *error);
                      query->phase = Running::Phase::answered;  // the group was lost: with the next one
                      pump();
                    });
}

void QueryService::read_excerpts(const RunningPtr& query, std::uint64_t opening_tokens) {
  const auto planned = plan_reread(answer_size(*query), opening_tokens, query->result.attention.evidence);
  if (const auto* error = std::get_if<Error>(&planned)) return fail(query, *error);
  const auto& plan = std::get<RereadPlan>(planned);
  contexts_.read_ranges(query->context, plan.ranges,
                        [this, query, plan](const std::optional<Error>& error, std::vector<TokenId> ids) {
                          if (query->phase != Running::Phase::reading) return;
                          if (error) return fail(query, *error);
                          query->run = Running::Run::excerpts;
                          query->result.reread->ranges = plan.ranges;
                          query->plan = plan.answer;
                          query->fill = std::move(ids);
                          query->is_context_ours = true;
                          query->context = {};
                          query->hold.reset();
                          query->subscription.reset();
                          query->phase = Running::Phase::planned;
                          pump();
                        });
}

void QueryService::finish(const RunningPtr& query) {
  const auto on_finished = query->events.on_finished;
  retire(query, to_string(query->result.reason));
  if (on_finished) on_finished(query->result);
}

void QueryService::on_failed(const protocol::AnswerFailed& failed) {
  const RunningPtr query = by_request(failed.request);
  if (!query) return;
  if (!may_be_retried(failed.code) || ++query->retries > kMaxRetries) {
    return fail(query, Error(failed.code, failed.message));
  }
  log_.warn("answer_retried", {{"query", query->number}, {"tokens", query->tokens.size()}, {"reason", failed.message}});
  requeue(query, failed.message);
  pump();
}

void QueryService::on_group_lost(const std::string& why) {
  std::vector<RunningPtr> in_order;
  for (const auto& [number, query] : queries_) in_order.push_back(query);
  for (const RunningPtr& query : in_order) {
    if (query->phase == Running::Phase::ended) continue;
    if (!query->stalled_since) query->stalled_since = loop_.now();
    if (query->phase == Running::Phase::on_workers) {
      if (++query->replays > kMaxReplays) {
        fail(query,
             Error(ErrorCode::unavailable,
                   fmt::format("the worker group was lost {} times without a new token: {}", query->replays, why)));
        continue;
      }
      requeue(query, why);
    }
    report_waiting(query);
  }
}

void QueryService::on_context_changed(protocol::ContextId id) {
  std::vector<RunningPtr> affected;
  for (const auto& [number, query] : queries_) {
    // A context's first version has the name that all of them go by: it goes, and the name stays.
    const protocol::ContextId named = query->request.context.value_or(protocol::ContextId{});
    const bool is_using = (query->context ? query->context : contexts_.version(named)) == id;
    if (is_using && query->phase != Running::Phase::filling) affected.push_back(query);
  }
  for (const RunningPtr& query : affected) {
    if (query->phase == Running::Phase::ended) continue;
    const Usability usability = contexts_.usability(id);
    if (usability.state == Usability::State::unusable) {
      fail(query, *usability.error);
    } else if (usability.state == Usability::State::in_repair && query->phase == Running::Phase::on_workers) {
      requeue(query, "a damaged chunk of its context is computed again");
      report_waiting(query);
    }
  }
  if (!affected.empty()) pump();
}

// Back to where it can be started again, with what the client has already been given.
void QueryService::requeue(const RunningPtr& query, const std::string& why) {
  log_.info("answer_will_be_replayed", {{"query", query->number}, {"tokens", query->tokens.size()}, {"reason", why}});
  on_workers_.erase(query->on_request);
  query->phase = Running::Phase::ready;
}

// ---------------------------------------------------------------------------------------------------------------
// Waiting and ending

void QueryService::tick() {
  tick_ = queries_.empty() ? nullptr : loop_.after(kTickInterval, [this] { tick(); });
  std::vector<RunningPtr> in_order;
  for (const auto& [number, query] : queries_) in_order.push_back(query);
  for (const RunningPtr& query : in_order) {
    if (query->phase == Running::Phase::ended) continue;
    if (query->stalled_since && !group_.is_ready() && loop_.now() - *query->stalled_since >= config_.group_timeout) {
      fail(query, Error(ErrorCode::unavailable,
                        fmt::format("no worker group was ready within {} s: {}",
                                    std::chrono::duration_cast<std::chrono::seconds>(config_.group_timeout).count(),
                                    group_.state())));
    } else {
      report_waiting(query);
    }
  }
}

std::string QueryService::waits_for(const Running& query) const {
  if (!group_.is_ready()) return group_.state();
  if (query.phase == Running::Phase::ready && query.context &&
      contexts_.usability(query.context).state == Usability::State::in_repair) {
    return "a damaged chunk of the context is computed again";
  }
  return {};
}

void QueryService::report_waiting(const RunningPtr& query) {
  const std::string why = waits_for(*query);
  if (why.empty()) return;
  const auto now = loop_.now();
  if (query->told_waiting_at && now - *query->told_waiting_at < config_.waiting_interval) return;
  query->told_waiting_at = now;
  tell(query->events.on_waiting, why);
}

void QueryService::fail(const RunningPtr& query, const Error& error) {
  if (query->phase == Running::Phase::ended) return;
  const auto on_failed = query->events.on_failed;
  const std::uint64_t prompt_tokens = usage(*query).prompt_tokens;
  if (query->phase == Running::Phase::on_workers) group_.send_work(protocol::CancelAnswer{query->on_request});
  retire(query, "error");
  log_.info("query_failed", {{"query", query->number}, {"code", protocol::to_string(error.code())}});
  if (on_failed) on_failed({error, prompt_tokens});
  loop_.post([this] { pump(); });
}

void QueryService::cancel(const RunningPtr& query) {
  query->events = {};
  if (query->phase == Running::Phase::ended) return;
  if (query->phase == Running::Phase::on_workers) group_.send_work(protocol::CancelAnswer{query->on_request});
  retire(query, "cancelled");
  loop_.post([this] { pump(); });
}

void QueryService::retire(const RunningPtr& query, std::string_view reason) {
  const bool is_unfinished = query->phase == Running::Phase::filling;
  query->phase = Running::Phase::ended;
  query->subscription.reset();
  query->hold.reset();
  // A prompt that nobody waits for is not computed to its end, and excerpts are of no use to another question.
  const bool is_useless = is_unfinished || query->run == Running::Run::excerpts;
  if (query->is_context_ours && query->context && is_useless) contexts_.erase(query->context, [](const auto&) {});
  on_workers_.erase(query->on_request);
  queries_.erase(query->number);
  metrics_.observe_request(reason, ms_between(query->arrived_at, loop_.now()) / 1000);
  if (queries_.empty() && on_drained_) loop_.post(std::exchange(on_drained_, nullptr));
}

QueryUsage QueryService::usage(const Running& query) const {
  return {.prompt_tokens = query.context_tokens + query.question.size(),
          .completion_tokens = query.tokens.size(),
          .cached_tokens = query.request.context ? query.context_tokens : 0};
}

void QueryService::drain(std::chrono::milliseconds deadline, std::function<void()> done) {
  is_draining_ = true;
  if (queries_.empty()) return loop_.post(std::move(done));
  on_drained_ = std::move(done);
  drain_deadline_ = loop_.after(deadline, [this] {
    const auto left = queries_;
    for (const auto& [number, query] : left) fail(query, Error(ErrorCode::unavailable, "the server is shutting down"));
  });
}

}  // namespace rotulus::coordinator
