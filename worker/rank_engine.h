// One rank at work: executes step plans with its model, its store and its transport. It decides nothing.
//
// Threads: one, the thread that owns the transport. Errors: what concerns an item or a commit is in the report;
// Error{transport_lost} ends the worker group.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>

#include "kernels/backend.h"
#include "memory_store/kv_store.h"
#include "worker/model/model.h"
#include "worker/model/transformer.h"
#include "worker/parallel/step_attention.h"
#include "worker/step_plan.h"

namespace rotulus::worker {

struct RankEngineConfig {
  kernels::KvType kv_type = kernels::KvType::f16;
  Strategy strategy = Strategy::automatic;
  std::uint32_t window = 0;  // positions that attention may span; 0: what the model was trained for
};

class RankEngine final {
 public:
  // Exchanges with the other ranks which volumes they hold: all ranks construct theirs together.
  RankEngine(const Model& model, kernels::Backend& backend, memory_store::KvStore& store, Transport& transport,
             const RankEngineConfig& config);
  ~RankEngine();

  // All ranks together. The report of this rank; rank 0 gathers them.
  StepReport execute(const StepPlan& plan);

  const VolumeHolders& volume_holders() const { return group_.holders; }
  std::uint32_t rank() const { return group_.transport.rank(); }
  std::uint32_t size() const { return group_.transport.size(); }

  struct Counters {
    std::uint64_t tokens_prefilled = 0;
    std::uint64_t tokens_decoded = 0;
    std::uint64_t tokens_recomputed = 0;
    std::uint64_t steps = 0;
    double step_seconds = 0;
  };
  const Counters& counters() const { return counters_; }

  // Called with the logits of each row that asked for them, on the rank that computed it (evaluation, tests).
  std::function<void(const StepItem& item, std::size_t row, std::span<const float> logits)> on_logits;

 private:
  struct Answer;
  struct Step;
  void apply_changes(const StepPlan& plan);
  void lay_out_rows(const StepPlan& plan, Step& step);
  void finish_rows(const StepPlan& plan, Step& step, kernels::ConstMatrix logits, StepReport& report);
  void report_attention(const StepPlan& plan, StepReport& report);
  void commit(const StepPlan& plan, StepReport& report);
  void count(const StepPlan& plan, const Step& step);

  const Model& model_;
  memory_store::KvStore& store_;
  RankEngineConfig config_;
  GroupSetting group_;
  Transformer transformer_;
  std::map<ContextId, PlanContext> contexts_;
  std::map<RequestId, std::unique_ptr<Answer>> answers_;
  Counters counters_;
};

}  // namespace rotulus::worker
