// The sequencer of a worker group, on rank 0: turns work from the coordinator into one StepPlan after the other, and
// what the ranks report into messages. Touches neither model, store nor network, so it is tested alone.
//
// Fairness: in every step each running answer gets its next token; questions come next; what is left of the step's
// budget goes to the document at the head of the queue. The budget follows the measured rate, so that a step stays
// near 150 ms and an answer keeps flowing while a document is read. No result depends on it.
//
// Threads: one.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "protocol/messages.h"
#include "worker/answer_text.h"
#include "worker/parallel/layout.h"
#include "worker/step_plan.h"

namespace rotulus::worker {

struct SchedulerConfig {
  std::uint32_t rank_count = 1;
  std::uint32_t context_length = 0;  // the window
  std::uint32_t vocabulary = 0;
  std::uint32_t step_tokens = 0;  // rows of prefill in a step; 0: by the measured rate
  VolumeHolders holders;
  protocol::StoreId store;
};

class Scheduler final {
 public:
  Scheduler(SchedulerConfig config, const Tokenizer& tokenizer, std::function<void(protocol::Message)> emit);
  ~Scheduler();

  void accept(protocol::Message message);  // OpenContext … CancelAnswer
  // What to do next; kind park when there is nothing.
  StepPlan next_plan();
  // What came of it: reports[r] is rank r's.
  void absorb(const StepPlan& plan, std::span<const StepReport> reports, double seconds);

 private:
  struct Context;
  struct Answer;

  void open(protocol::OpenContext message);
  void take_tokens(const protocol::ContextTokens& message);
  void close(ContextId id);
  void enqueue(const protocol::ComputeChunk& message);
  void cancel_compute(ContextId id);
  void start(protocol::StartAnswer message);
  void close_answer(RequestId id);

  void plan_answers(StepPlan& plan, std::size_t& budget);
  void plan_question(Answer& answer, StepItem& item, std::size_t& budget);
  std::optional<protocol::Error> choose_attention(const Context* context, Answer& answer) const;
  void plan_chunk(StepPlan& plan, std::size_t budget);
  bool begin_chunk(Context& context, StepPlan& plan);

  void absorb_chunk(const StepPlan& plan, std::size_t item, const StepFailure* failure);
  void absorb_answer(const StepItem& item, const StepFailure* failure, const SampledToken* sample,
                     std::span<const SampledToken> scores);
  void tell_question(Answer& answer, std::span<const SampledToken> scores);
  protocol::AnswerToken describe(const Answer& answer, std::uint32_t index, const SampledToken& token,
                                 std::string text) const;
  bool begin_second_pass(Answer& answer);
  void plan_listings(StepPlan& plan);
  void absorb_commit(const PlanCommit& order, std::uint32_t index, std::span<const StepReport> reports);
  void fail_chunk(Context& context, protocol::ErrorCode code, const std::string& message);
  bool report_damage(ContextId id, ObjectId damaged, const std::string& message);
  // Appends a token to an answer; says it unless it was said before. True when the answer is over.
  bool advance(Answer& answer, TokenId token, const SampledToken* sampled);
  void finish(Answer& answer, protocol::FinishReason reason);
  std::size_t prefill_budget() const;
  protocol::Placement make_placement() const;
  std::uint32_t pick_home() const;

  SchedulerConfig config_;
  const Tokenizer& tokenizer_;
  std::function<void(protocol::Message)> emit_;
  std::map<ContextId, std::unique_ptr<Context>> contexts_;
  std::map<RequestId, std::unique_ptr<Answer>> answers_;
  std::deque<ContextId> compute_order_;
  std::deque<protocol::CommitListing> listings_;
  StepPlan changes_;  // what the ranks are told with the next plan
  std::uint64_t step_ = 0;
  double prefill_rows_per_second_ = 0;
};

}  // namespace rotulus::worker
