#include "worker/service.h"

#include <chrono>

#include "worker/parallel/exchange.h"

namespace rotulus::worker {
namespace {

StepPlan agree_on_plan(Transport& transport, Scheduler* scheduler, WorkSource& source) {
  std::vector<std::byte> bytes;
  StepPlan plan;
  const bool is_stopping = source.is_stopping();
  if (scheduler) {
    for (protocol::Message& message : source.take_work()) scheduler->accept(std::move(message));
    plan = scheduler->next_plan();
    if (is_stopping) plan.kind = StepPlan::Kind::stop;
    plan.work_seen = source.work_seen();
    if (transport.size() > 1) bytes = encode(plan);
  }
  if (transport.size() > 1) broadcast(transport, 0, bytes);
  return scheduler ? std::move(plan) : decode_step_plan(bytes);
}

}  // namespace

void serve_rank(Transport& transport, RankEngine& engine, Scheduler* scheduler, WorkSource& source) {
  for (;;) {
    const StepPlan plan = agree_on_plan(transport, scheduler, source);
    if (plan.kind == StepPlan::Kind::stop) return;
    if (plan.kind == StepPlan::Kind::park) {
      source.park(plan.work_seen);
      continue;
    }
    const auto begin = std::chrono::steady_clock::now();
    const StepReport report = engine.execute(plan);
    std::vector<StepReport> reports;
    for (const auto& bytes : gather(transport, 0, encode(report))) {
      if (scheduler) reports.push_back(decode_step_report(bytes));
    }
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    if (scheduler) scheduler->absorb(plan, reports, seconds);
  }
}

}  // namespace rotulus::worker
