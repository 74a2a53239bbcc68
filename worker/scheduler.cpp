#include "worker/scheduler.h"

#include <algorithm>
#include <chrono>

#include "protocol/error.h"
#include "protocol/limits.h"
#include "protocol/token_range.h"
#include "worker/parallel/retrieval.h"

namespace rotulus::worker {
namespace {

using protocol::ErrorCode;
using protocol::TokenRange;
using Clock = std::chrono::steady_clock;

constexpr TokenId kAbsent = 0xffffffff;  // a token id that has not arrived yet
constexpr double kStepSeconds = 0.15;
constexpr std::size_t kFirstBudget = 128;
constexpr std::size_t kLeastBudget = 32;
constexpr std::size_t kMostBudget = 2048;
constexpr std::size_t kReplayRows = 64;  // forced tokens in one step
constexpr std::uint64_t kVotingRows = 512;
// Rows in one step whose logits are all made, 128 KiB and more each: one tile of one question.
constexpr std::size_t kScoringRows = protocol::kBlockTokens;

double milliseconds(Clock::duration duration) {
  return std::chrono::duration<double, std::milli>(duration).count();
}

// The rows of a question from which votes are taken, and which a second pass runs again: its last tiles.
std::uint64_t first_voting_row(std::uint64_t first_position, std::uint64_t rows) {
  const std::uint64_t first = rows > kVotingRows ? rows - kVotingRows : 0;
  const std::uint64_t into_tile = (first_position + first) % protocol::kBlockTokens;
  return first > into_tile ? first - into_tile : 0;
}

template <class... Handlers>
struct Overloaded : Handlers... {
  using Handlers::operator()...;
};
template <class... Handlers>
Overloaded(Handlers...) -> Overloaded<Handlers...>;

}  // namespace

struct Scheduler::Context {
  protocol::OpenContext opened;
  std::vector<TokenId> ids;           // kAbsent where not known
  std::vector<ChunkLocation> chunks;  // committed ones
  std::deque<protocol::ComputeChunk> queue;
  struct Attempt {
    protocol::ComputeChunk order;
    protocol::Placement placement;
    TokenRange range;
    std::uint64_t next = 0;  // position of the first row not computed
  };
  std::optional<Attempt> attempt;  // of the queue's front

  ContextId id() const { return opened.context; }
  std::uint64_t token_count() const { return opened.description.token_count; }
};

struct Scheduler::Answer {
  protocol::StartAnswer started;
  std::uint32_t home = 0;
  std::uint64_t first_position = 0;
  std::uint64_t rows_done = 0;  // of question and tokens
  std::vector<TokenId> tokens;  // forced and drawn
  bool takes_votes = false;     // of the question's last tiles
  bool has_second_pass = false;
  bool is_second_pass = false;
  protocol::AttentionReport report;
  std::size_t question_told = 0;  // of a question that is scored: tokens reported
  TextStream question_text;
  AnswerText text{{}};
  Clock::time_point start;
  Clock::time_point first_token;
};

Scheduler::Scheduler(SchedulerConfig config, const Tokenizer& tokenizer, std::function<void(protocol::Message)> emit)
    : config_(std::move(config)), tokenizer_(tokenizer), emit_(std::move(emit)) {}

Scheduler::~Scheduler() = default;

// -- what the coordinator says ----------------------------------------------------------------------------------

void Scheduler::accept(protocol::Message message) {
  std::visit(
      Overloaded{[&](protocol::OpenContext& m) { open(std::move(m)); },
                 [&](protocol::ContextTokens& m) { take_tokens(m); },
                 [&](protocol::CloseContext& m) { close(m.context); }, [&](protocol::ComputeChunk& m) { enqueue(m); },
                 [&](protocol::CommitListing& m) { listings_.push_back(std::move(m)); },
                 [&](protocol::CancelCompute& m) { cancel_compute(m.context); },
                 [&](protocol::StartAnswer& m) { start(std::move(m)); },
                 [&](protocol::CancelAnswer& m) { close_answer(m.request); },
                 [](auto&) { CHECK(false, "not a message of work"); }},
      message);
}

void Scheduler::open(protocol::OpenContext message) {
  const ContextId id = message.context;
  auto& slot = contexts_[id];
  if (slot) cancel_compute(id);
  auto context = std::make_unique<Context>();
  context->opened = std::move(message);
  if (slot && slot->token_count() == context->token_count()) context->ids = std::move(slot->ids);
  context->ids.resize(context->token_count(), kAbsent);
  context->chunks.resize(protocol::chunk_count(context->token_count()));
  for (std::size_t i = 0; i < std::min(context->chunks.size(), context->opened.chunks.size()); ++i) {
    context->chunks[i] = {context->opened.chunks[i].object, context->opened.chunks[i].placement};
  }
  changes_.contexts.push_back({id, context->token_count(), context->opened.parameters.retrieval, context->chunks});
  slot = std::move(context);
}

void Scheduler::take_tokens(const protocol::ContextTokens& message) {
  const auto found = contexts_.find(message.context);
  if (found == contexts_.end()) return;
  std::vector<TokenId>& ids = found->second->ids;
  if (message.offset > ids.size() || message.ids.size() > ids.size() - message.offset) return;
  std::copy(message.ids.begin(), message.ids.end(), ids.begin() + static_cast<std::ptrdiff_t>(message.offset));
}

void Scheduler::close(ContextId id) {
  if (!contexts_.contains(id)) return;
  cancel_compute(id);
  std::vector<RequestId> ended;
  for (const auto& [request, answer] : answers_) {
    if (answer->started.context == id) ended.push_back(request);
  }
  for (const RequestId request : ended) close_answer(request);
  contexts_.erase(id);
  // The ranks close before they apply the rest of a plan, which must name it no more.
  const auto is_of_it = [&](const auto& change) { return change.context == id; };
  std::erase_if(changes_.contexts, is_of_it);
  std::erase_if(changes_.chunks, is_of_it);
  changes_.closed_contexts.push_back(id);
}

void Scheduler::enqueue(const protocol::ComputeChunk& message) {
  const auto found = contexts_.find(message.context);
  if (found == contexts_.end() || message.chunk_index >= found->second->chunks.size()) {
    emit_(protocol::ComputeFailed{message.context, message.chunk_index, ErrorCode::not_found,
                                  "the context is not open, or has no such chunk"});
    return;
  }
  found->second->queue.push_back(message);
  if (std::find(compute_order_.begin(), compute_order_.end(), message.context) == compute_order_.end()) {
    compute_order_.push_back(message.context);
  }
}

void Scheduler::cancel_compute(ContextId id) {
  const auto found = contexts_.find(id);
  if (found == contexts_.end()) return;
  Context& context = *found->second;
  if (context.attempt) {
    const std::uint32_t index = context.attempt->order.chunk_index;
    changes_.abandoned.push_back(context.attempt->order.object);
    changes_.chunks.push_back({id, index, context.chunks[index]});
    context.attempt.reset();
  }
  context.queue.clear();
  std::erase(compute_order_, id);
}

void Scheduler::start(protocol::StartAnswer message) {
  const RequestId id = message.request;
  const auto refuse = [&](ErrorCode code, std::string why) { emit_(protocol::AnswerFailed{id, code, std::move(why)}); };
  if (answers_.contains(id)) close_answer(id);
  auto answer = std::make_unique<Answer>();
  const Context* context = nullptr;
  if (message.context) {
    const auto found = contexts_.find(message.context);
    if (found == contexts_.end()) return refuse(ErrorCode::not_found, "the context is not open");
    context = found->second.get();
    answer->first_position = context->token_count();
    const auto absent = [](const ChunkLocation& chunk) { return !chunk.object; };
    if (std::any_of(context->chunks.begin(), context->chunks.end(), absent)) {
      return refuse(ErrorCode::conflict, "the context is not complete");
    }
  }
  if (message.question.empty()) return refuse(ErrorCode::invalid_argument, "the question has no tokens");
  for (const auto* ids : {&message.question, &message.forced}) {
    for (const TokenId token : *ids) {
      if (token >= config_.vocabulary)
        return refuse(ErrorCode::invalid_argument, "a token id is not in the vocabulary");
    }
  }
  answer->started = std::move(message);
  if (const auto error = choose_attention(context, *answer)) return refuse(error->code(), error->message());
  answer->home = pick_home();
  answer->text = AnswerText(answer->started.stop);
  answer->start = Clock::now();
  Answer& running = *answer;
  answers_[id] = std::move(answer);
  changes_.answers.push_back(
      {id, running.started.context, running.home, running.started.sampling, running.started.attention});
  for (const TokenId token : running.started.forced) {
    if (advance(running, token, nullptr)) return;
  }
}

// Settles how the answer attends, or says why it cannot.
std::optional<protocol::Error> Scheduler::choose_attention(const Context* context, Answer& answer) const {
  using protocol::AttentionMode;
  protocol::AttentionSpec& spec = answer.started.attention;
  const std::uint64_t tail = answer.started.question.size() + std::uint64_t{answer.started.max_tokens};
  const bool fits = answer.first_position + tail <= config_.context_length;
  const bool has_landmarks = context && context->opened.parameters.retrieval.landmark_version != 0;
  if (spec.mode == AttentionMode::automatic) {
    spec.mode = fits || !has_landmarks ? AttentionMode::exact : AttentionMode::retrieval;
  }
  if (spec.mode == AttentionMode::exact && !fits) {
    return protocol::Error(
        ErrorCode::context_length_exceeded,
        fmt::format("{} tokens of context, {} of question and {} to generate exceed the window of {}{}",
                    answer.first_position, answer.started.question.size(), answer.started.max_tokens,
                    config_.context_length, has_landmarks ? "; ask with attention.mode retrieval" : ""));
  }
  if (spec.mode == AttentionMode::retrieval) {
    if (!has_landmarks) {
      return protocol::Error(ErrorCode::conflict,
                             "the context keeps no landmarks; submit it again with attention.mode retrieval");
    }
    const auto landmark = protocol::landmark_of(spec.landmark, context->opened.parameters.retrieval.landmarks);
    if (!landmark) {
      return protocol::Error(ErrorCode::invalid_argument, "the context does not keep this landmark", "landmark");
    }
    spec.landmark = *landmark;
    // Sinks and pages are shown in the 128 positions before the window, which begins on a block.
    const std::uint64_t reach = tail + spec.local_tokens + 2 * protocol::kBlockTokens;
    if (!fits && reach > config_.context_length) {
      return protocol::Error(
          ErrorCode::context_length_exceeded,
          fmt::format("{} tokens of question, {} to generate, a local window of {} and {} for sinks and pages exceed "
                      "the window of {}",
                      answer.started.question.size(), answer.started.max_tokens, spec.local_tokens,
                      2 * protocol::kBlockTokens, config_.context_length));
    }
  }
  const bool selects = spec.mode == AttentionMode::retrieval && spec.budget_tokens > 0 &&
                       Retrieval::has_candidates(spec, answer.first_position);
  answer.has_second_pass = selects && spec.second_pass;
  answer.takes_votes = context && (answer.has_second_pass || spec.wants_provenance);
  answer.report.mode = spec.mode;
  answer.report.landmark = spec.landmark;
  answer.report.context_tokens = answer.report.attended_tokens = answer.first_position;
  return std::nullopt;
}

void Scheduler::close_answer(RequestId id) {
  if (answers_.erase(id) == 0) return;
  const auto opened = std::find_if(changes_.answers.begin(), changes_.answers.end(),
                                   [&](const PlanAnswer& answer) { return answer.request == id; });
  if (opened != changes_.answers.end()) {
    changes_.answers.erase(opened);  // the ranks never heard of it
  } else {
    changes_.closed_answers.push_back(id);
  }
}

// -- what the ranks do next -------------------------------------------------------------------------------------

StepPlan Scheduler::next_plan() {
  StepPlan plan = std::move(changes_);
  changes_ = {};
  plan.step = ++step_;
  // A complete chunk is made durable in a step of its own: only once all ranks have said that its rows are good.
  for (const ContextId id : compute_order_) {
    Context& context = *contexts_.at(id);
    if (!context.attempt || context.attempt->next < context.attempt->range.end) continue;
    const Context::Attempt& attempt = *context.attempt;
    PlanCommit commit;
    commit.catalogue_sequence = attempt.order.catalogue_sequence;
    protocol::ManifestRecord& record = commit.record;
    record.object = attempt.order.object;
    if (attempt.order.chunk_index > 0) record.parent = context.chunks[attempt.order.chunk_index - 1].object;
    record.context = id;
    record.chunk_index = attempt.order.chunk_index;
    record.range = attempt.range;
    record.store = config_.store;
    record.placement = attempt.placement;
    record.parameters = context.opened.parameters;
    record.description = context.opened.description;
    record.token_ids.assign(context.ids.begin() + static_cast<std::ptrdiff_t>(attempt.range.begin),
                            context.ids.begin() + static_cast<std::ptrdiff_t>(attempt.range.end));
    plan.commits.push_back(std::move(commit));
  }
  plan_listings(plan);
  std::size_t budget = prefill_budget();
  plan_answers(plan, budget);
  if (plan.commits.empty() && budget > 0) plan_chunk(plan, budget);
  const bool has_changes = !plan.contexts.empty() || !plan.closed_contexts.empty() || !plan.chunks.empty() ||
                           !plan.abandoned.empty() || !plan.answers.empty() || !plan.closed_answers.empty();
  if (plan.items.empty() && plan.commits.empty() && !has_changes) plan.kind = StepPlan::Kind::park;
  return plan;
}

void Scheduler::plan_listings(StepPlan& plan) {
  for (protocol::CommitListing& listing : listings_) {
    listing.record.store = config_.store;
    listing.record.placement = make_placement();
    if (listing.record.placement.empty()) {
      emit_(protocol::ListingCommitted{listing.record.context,
                                       {.object = listing.record.object},
                                       ErrorCode::unavailable,
                                       "a rank has no volume open that could hold its part"});
      continue;
    }
    plan.commits.push_back({std::move(listing.record), listing.catalogue_sequence});
  }
  listings_.clear();
}

void Scheduler::plan_answers(StepPlan& plan, std::size_t& budget) {
  bool is_scoring = false;
  for (const auto& [id, answer] : answers_) {
    const auto& question = answer->started.question;
    StepItem item;
    item.request = id;
    item.first_position = answer->first_position + answer->rows_done;
    if (answer->rows_done < question.size()) {
      const bool scores = answer->started.scores_question;
      if (budget == 0 || (scores && is_scoring)) continue;
      is_scoring |= scores;
      plan_question(*answer, item, budget);
    } else {
      const std::size_t done = answer->rows_done - question.size();
      const std::size_t count = std::min(kReplayRows, answer->tokens.size() - done);
      CHECK(count > 0, done, answer->tokens.size());
      item.kind = StepItem::Kind::answer;
      const auto first = answer->tokens.begin() + static_cast<std::ptrdiff_t>(done);
      item.tokens.assign(first, first + static_cast<std::ptrdiff_t>(count));
      if (done + count == answer->tokens.size()) item.logits = LogitRows::last;
      item.sample_index = answer->tokens.size();
      // Rows of an answer that was replayed were computed by the worker group before.
      item.computed_before = answer->first_position + question.size() + answer->started.forced.size();
    }
    if (item.kind == StepItem::Kind::question && !answer->started.forced.empty()) {
      item.computed_before = answer->first_position + question.size();
    }
    plan.items.push_back(std::move(item));
  }
}

void Scheduler::plan_question(Answer& answer, StepItem& item, std::size_t& budget) {
  const auto& question = answer.started.question;
  const std::uint64_t done = answer.rows_done;
  const bool scores = answer.started.scores_question;
  const std::size_t rows = scores ? std::min(budget, kScoringRows) : budget;
  std::uint64_t end = std::min<std::uint64_t>(question.size(), done + rows);
  if (answer.started.attention.mode == protocol::AttentionMode::retrieval && end < question.size()) {
    // A tile of positions chooses its pages together: a step never cuts one.
    const std::uint64_t cut = (answer.first_position + end) % protocol::kBlockTokens;
    end = end > done + cut ? end - cut : std::min<std::uint64_t>(question.size(), end - cut + protocol::kBlockTokens);
  }
  const std::uint64_t voting = first_voting_row(answer.first_position, question.size());
  if (answer.takes_votes && done < voting) end = std::min(end, voting);
  item.kind = StepItem::Kind::question;
  item.tokens.assign(question.begin() + static_cast<std::ptrdiff_t>(done),
                     question.begin() + static_cast<std::ptrdiff_t>(end));
  const bool is_last = end == question.size();
  const bool is_final = answer.is_second_pass || !answer.has_second_pass;
  item.votes = answer.takes_votes && !answer.is_second_pass && done >= voting;
  item.ends_votes = item.votes && is_last;
  item.ends_question = is_last && is_final;
  if (item.ends_question && answer.tokens.empty() && answer.started.max_tokens > 0) item.logits = LogitRows::last;
  if (scores && (is_final || end <= voting)) {  // rows that run again are scored then
    item.scored.assign(
        question.begin() + static_cast<std::ptrdiff_t>(done + 1),
        question.begin() + static_cast<std::ptrdiff_t>(std::min<std::uint64_t>(end + 1, question.size())));
  }
  budget -= std::min<std::size_t>(budget, item.tokens.size());
}

void Scheduler::plan_chunk(StepPlan& plan, std::size_t budget) {
  if (compute_order_.empty()) return;
  Context& context = *contexts_.at(compute_order_.front());
  if (!context.attempt && !begin_chunk(context, plan)) return;
  const Context::Attempt& attempt = *context.attempt;
  StepItem item;
  item.kind = StepItem::Kind::chunk;
  item.context = context.id();
  item.first_position = attempt.next;
  const std::uint64_t end = std::min<std::uint64_t>(attempt.range.end, attempt.next + budget);
  item.tokens.assign(context.ids.begin() + static_cast<std::ptrdiff_t>(attempt.next),
                     context.ids.begin() + static_cast<std::ptrdiff_t>(end));
  item.computed_before = attempt.order.computed_before;
  plan.items.push_back(std::move(item));
}

bool Scheduler::begin_chunk(Context& context, StepPlan& plan) {
  const protocol::ComputeChunk& order = context.queue.front();
  Context::Attempt attempt;
  attempt.order = order;
  attempt.range = protocol::chunk_range(order.chunk_index, context.token_count());
  attempt.next = attempt.range.begin;
  context.attempt = std::move(attempt);
  const auto first = context.ids.begin() + static_cast<std::ptrdiff_t>(context.attempt->range.begin);
  const auto last = context.ids.begin() + static_cast<std::ptrdiff_t>(context.attempt->range.end);
  const auto is_bad = [&](TokenId token) { return token >= config_.vocabulary; };
  if (std::any_of(first, last, is_bad)) {
    fail_chunk(context, ErrorCode::invalid_argument, "token ids of the chunk are missing or outside the vocabulary");
    return false;
  }
  for (std::uint32_t before = 0; before < order.chunk_index; ++before) {
    if (context.chunks[before].object) continue;
    fail_chunk(context, ErrorCode::conflict, fmt::format("chunk {} before it is not computed", before));
    return false;
  }
  context.attempt->placement = make_placement();
  if (context.attempt->placement.empty()) {
    fail_chunk(context, ErrorCode::unavailable, "a rank has no volume open that could hold its part of the chunk");
    return false;
  }
  plan.chunks.push_back({context.id(), order.chunk_index, {order.object, context.attempt->placement}});
  return true;
}

std::size_t Scheduler::prefill_budget() const {
  if (config_.step_tokens > 0) return config_.step_tokens;
  if (prefill_rows_per_second_ == 0) return kFirstBudget;
  const double rows = prefill_rows_per_second_ * kStepSeconds;
  return std::clamp(static_cast<std::size_t>(rows), kLeastBudget, kMostBudget);
}

protocol::Placement Scheduler::make_placement() const {
  std::vector<std::vector<protocol::VolumeId>> volumes(config_.rank_count);
  for (const auto& [volume, rank] : config_.holders) volumes[rank].push_back(volume);
  return protocol::place_lanes(volumes);
}

std::uint32_t Scheduler::pick_home() const {
  std::vector<std::size_t> load(config_.rank_count);
  for (const auto& [id, answer] : answers_) ++load[answer->home];
  return static_cast<std::uint32_t>(std::min_element(load.begin(), load.end()) - load.begin());
}

// -- what came of it --------------------------------------------------------------------------------------------

void Scheduler::absorb(const StepPlan& plan, std::span<const StepReport> reports, double seconds) {
  std::vector<const StepFailure*> failures(plan.items.size());
  std::vector<const SampledToken*> samples(plan.items.size());
  std::vector<std::vector<SampledToken>> scores(plan.items.size());
  for (const StepReport& report : reports) {
    for (const StepFailure& failure : report.failures) {
      if (failure.is_commit) continue;
      const StepFailure*& worst = failures.at(failure.index);
      if (!worst || failure.damaged) worst = &failure;  // damage can be repaired, so it is told first
    }
    for (const StepSample& sample : report.samples) samples.at(sample.item) = &sample.token;
    for (const StepSample& score : report.scores) scores.at(score.item).push_back(score.token);
    for (const StepAttentionReport& said : report.attention) {
      const auto answer = answers_.find(plan.items.at(said.item).request);
      if (answer != answers_.end()) answer->second->report = said.report;
    }
  }
  std::size_t prefill_rows = 0;
  for (std::size_t index = 0; index < plan.items.size(); ++index) {
    const StepItem& item = plan.items[index];
    if (item.kind != StepItem::Kind::answer) prefill_rows += item.tokens.size();
    if (item.kind == StepItem::Kind::chunk) {
      absorb_chunk(plan, index, failures[index]);
    } else {
      absorb_answer(item, failures[index], samples[index], scores[index]);
    }
  }
  for (std::uint32_t index = 0; index < plan.commits.size(); ++index)
    absorb_commit(plan.commits[index], index, reports);
  if (prefill_rows >= kLeastBudget && seconds > 0) {
    const double rate = double(prefill_rows) / seconds;
    prefill_rows_per_second_ = prefill_rows_per_second_ == 0 ? rate : 0.7 * prefill_rows_per_second_ + 0.3 * rate;
  }
}

void Scheduler::absorb_chunk(const StepPlan& plan, std::size_t index, const StepFailure* failure) {
  const StepItem& item = plan.items[index];
  const auto found = contexts_.find(item.context);
  if (found == contexts_.end() || !found->second->attempt) return;
  Context& context = *found->second;
  if (failure) {
    if (failure->damaged) report_damage(item.context, failure->damaged, failure->message);
    fail_chunk(context, failure->code, failure->message);
    return;
  }
  context.attempt->next += item.tokens.size();
  emit_(protocol::ChunkProgress{item.context, context.attempt->next});
}

void Scheduler::absorb_commit(const PlanCommit& order, std::uint32_t index, std::span<const StepReport> reports) {
  protocol::ObjectRecord record{order.record.object, order.record.placement, {}};
  const StepFailure* failed = nullptr;
  for (const StepReport& report : reports) {
    for (const StepFailure& failure : report.failures) {
      if (!failed && failure.is_commit && failure.index == index) failed = &failure;
    }
    for (const StepCommit& commit : report.commits) {
      if (commit.commit == index) record.manifests.push_back(commit.manifest);
    }
  }
  if (!order.record.objects.empty()) {
    protocol::ListingCommitted said{order.record.context, std::move(record), {}, {}};
    if (failed) said = {order.record.context, {.object = order.record.object}, failed->code, failed->message};
    return emit_(std::move(said));
  }
  const auto found = contexts_.find(order.record.context);
  if (found == contexts_.end() || !found->second->attempt) return;
  Context& context = *found->second;
  if (failed) return fail_chunk(context, failed->code, failed->message);
  const std::uint32_t chunk = order.record.chunk_index;
  context.chunks[chunk] = {record.object, record.placement};
  context.attempt.reset();
  context.queue.pop_front();
  if (context.queue.empty()) std::erase(compute_order_, order.record.context);
  emit_(protocol::ChunkCommitted{order.record.context, chunk, std::move(record)});
}

// The attempt at the queue's front is over; what was queued behind it cannot be computed without it.
void Scheduler::fail_chunk(Context& context, ErrorCode code, const std::string& message) {
  const std::uint32_t index = context.queue.front().chunk_index;
  const ContextId id = context.id();
  cancel_compute(id);
  emit_(protocol::ComputeFailed{id, index, code, message});
}

// Tells the coordinator which committed chunk cannot be read, and drops what runs on the context: it is replayed.
bool Scheduler::report_damage(ContextId id, ObjectId damaged, const std::string& message) {
  const auto found = contexts_.find(id);
  if (found == contexts_.end()) return false;
  const auto& chunks = found->second->chunks;
  const auto chunk = std::find_if(chunks.begin(), chunks.end(),
                                  [&](const ChunkLocation& location) { return location.object == damaged; });
  if (chunk == chunks.end()) return false;
  emit_(protocol::ChunkDamaged{id, static_cast<std::uint32_t>(chunk - chunks.begin()), damaged, message});
  std::vector<RequestId> stopped;
  for (const auto& [request, answer] : answers_) {
    if (answer->started.context == id) stopped.push_back(request);
  }
  for (const RequestId request : stopped) close_answer(request);
  return true;
}

void Scheduler::absorb_answer(const StepItem& item, const StepFailure* failure, const SampledToken* sampled,
                              std::span<const SampledToken> scores) {
  const auto found = answers_.find(item.request);
  if (found == answers_.end()) return;
  Answer& answer = *found->second;
  if (failure) {
    if (failure->damaged && report_damage(answer.started.context, failure->damaged, failure->message)) return;
    emit_(protocol::AnswerFailed{item.request, failure->code, failure->message});
    close_answer(item.request);
    return;
  }
  answer.rows_done += item.tokens.size();
  if (answer.started.scores_question) tell_question(answer, scores);
  if (begin_second_pass(answer)) return;
  if (item.ends_question && answer.started.max_tokens == 0) return finish(answer, protocol::FinishReason::length);
  if (item.logits != LogitRows::last) return;
  CHECK(sampled != nullptr, item.request);
  if (answer.tokens.empty()) answer.first_token = Clock::now();
  const bool is_end = !answer.started.ignore_eos && tokenizer_.ends_generation(sampled->token);
  if (is_end) {
    finish(answer, protocol::FinishReason::stop);
  } else {
    advance(answer, sampled->token, sampled);
  }
}

bool Scheduler::begin_second_pass(Answer& answer) {
  const std::size_t rows = answer.started.question.size();
  if (!answer.has_second_pass || answer.is_second_pass || answer.rows_done != rows) return false;
  answer.is_second_pass = true;
  answer.rows_done = first_voting_row(answer.first_position, rows);
  return true;
}

// The tokens of a question that its rows have scored, behind those told before; its first with them, which none scores.
void Scheduler::tell_question(Answer& answer, std::span<const SampledToken> scores) {
  const std::vector<TokenId>& question = answer.started.question;
  const auto tell = [&](const SampledToken& score) {
    const std::string_view bytes = tokenizer_.bytes(score.token);
    std::string text = answer.question_text.append(bytes);
    const auto index = static_cast<std::uint32_t>(answer.question_told++);
    if (answer.question_told == question.size()) text += answer.question_text.finish();
    protocol::AnswerToken said = describe(answer, index, score, std::move(text));
    said.is_of_question = true;
    emit_(std::move(said));
  };
  if (answer.question_told == 0) tell({.token = question.front(), .logprob = 0, .top = {}});
  for (const SampledToken& score : scores) tell(score);
}

protocol::AnswerToken Scheduler::describe(const Answer& answer, std::uint32_t index, const SampledToken& token,
                                          std::string text) const {
  protocol::AnswerToken said{.request = answer.started.request, .index = index, .token = token.token};
  said.bytes = tokenizer_.bytes(token.token);
  said.text = std::move(text);
  said.logprob = token.logprob;
  for (const auto& [alternative, logprob] : token.top) {
    said.top.push_back({alternative, std::string(tokenizer_.bytes(alternative, true)), logprob});
  }
  return said;
}

bool Scheduler::advance(Answer& answer, TokenId token, const SampledToken* sampled) {
  const auto index = static_cast<std::uint32_t>(answer.tokens.size());
  answer.tokens.push_back(token);
  std::string text = answer.text.append(tokenizer_.bytes(token));
  if (sampled) emit_(describe(answer, index, *sampled, std::move(text)));
  if (answer.text.is_stopped()) {
    finish(answer, protocol::FinishReason::stop);
    return true;
  }
  if (answer.tokens.size() >= answer.started.max_tokens) {
    finish(answer, protocol::FinishReason::length);
    return true;
  }
  return false;
}

void Scheduler::finish(Answer& answer, protocol::FinishReason reason) {
  const auto now = Clock::now();
  const bool has_token = answer.first_token != Clock::time_point{};
  protocol::AnswerFinished finished;
  finished.request = answer.started.request;
  finished.reason = reason;
  finished.text = answer.text.finish();
  finished.completion_tokens = static_cast<std::uint32_t>(answer.tokens.size());
  finished.prompt_ms = milliseconds((has_token ? answer.first_token : now) - answer.start);
  finished.predicted_ms = has_token ? milliseconds(now - answer.first_token) : 0;
  finished.attention = answer.report;
  emit_(std::move(finished));
  close_answer(answer.started.request);
}

}  // namespace rotulus::worker
