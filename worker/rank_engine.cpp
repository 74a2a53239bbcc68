#include "worker/rank_engine.h"

#include <algorithm>
#include <chrono>
#include <cstring>

#include "protocol/token_range.h"
#include "worker/parallel/exchange.h"

namespace rotulus::worker {
namespace {

using protocol::VolumeId;

VolumeHolders exchange_holders(Transport& transport, const memory_store::KvStore& store) {
  std::vector<VolumeId> own;
  for (const auto& volume : store.volumes()) own.push_back(volume.volume);
  const std::vector<std::byte> bytes(std::as_bytes(std::span(own)).begin(), std::as_bytes(std::span(own)).end());
  const std::vector<std::vector<std::byte>> to_all(transport.size(), bytes);
  VolumeHolders holders;
  std::uint32_t rank = 0;
  for (const auto& from : exchange_unsized(transport, to_all)) {
    std::vector<VolumeId> volumes(from.size() / sizeof(VolumeId));
    std::memcpy(volumes.data(), from.data(), volumes.size() * sizeof(VolumeId));
    for (const VolumeId volume : volumes) holders[volume] = rank;
    ++rank;
  }
  return holders;
}

}  // namespace

struct RankEngine::Answer {
  PlanAnswer plan;
  std::unique_ptr<Tail> tail;            // on the home rank only
  std::unique_ptr<Retrieval> retrieval;  // where it selects or votes
};

struct RankEngine::Step {
  Rows rows;
  std::vector<AttentionItem> items;  // as the plan's
  struct LogitRow {
    std::size_t item = 0;
    std::size_t row = 0;  // in the item
    std::size_t local_row = 0;
  };
  std::vector<LogitRow> logit_rows;  // ascending local_row
};

RankEngine::RankEngine(const Model& model, kernels::Backend& backend, memory_store::KvStore& store,
                       Transport& transport, const RankEngineConfig& config)
    : model_(model),
      store_(store),
      config_(config),
      group_{transport,
             backend,
             store,
             model.hyperparameters,
             {config.kv_type, model.hyperparameters.kv_heads, model.hyperparameters.head_dim},
             exchange_holders(transport, store)},
      transformer_(model, backend) {}

RankEngine::~RankEngine() = default;

StepReport RankEngine::execute(const StepPlan& plan) {
  const auto begin = std::chrono::steady_clock::now();
  StepReport report;
  apply_changes(plan);
  if (!plan.items.empty()) {
    Step step;
    lay_out_rows(plan, step);
    StepAttention attention(group_, step.items, config_.strategy);
    const kernels::ConstMatrix logits = transformer_.forward(step.rows, attention);
    finish_rows(plan, step, logits, report);
    report_attention(plan, report);
    count(plan, step);
  }
  commit(plan, report);
  ++counters_.steps;
  counters_.step_seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return report;
}

void RankEngine::apply_changes(const StepPlan& plan) {
  for (const RequestId request : plan.closed_answers) answers_.erase(request);
  if (!plan.closed_answers.empty() || !plan.closed_contexts.empty()) store_.prefetch({});
  for (const ObjectId object : plan.abandoned) store_.abandon(object);
  for (const ContextId context : plan.closed_contexts) contexts_.erase(context);
  for (const PlanContext& context : plan.contexts) contexts_[context.context] = context;
  for (const PlanChunk& chunk : plan.chunks) {
    const auto context = contexts_.find(chunk.context);
    CHECK(context != contexts_.end() && chunk.chunk_index < context->second.chunks.size(), chunk.context);
    context->second.chunks[chunk.chunk_index] = chunk.chunk;
  }
  for (const PlanAnswer& plan_answer : plan.answers) {
    auto answer = std::make_unique<Answer>();
    answer->plan = plan_answer;
    if (plan_answer.home == rank()) {
      std::uint64_t first_position = 0;
      if (plan_answer.context) first_position = contexts_.at(plan_answer.context).token_count;
      answer->tail = std::make_unique<Tail>(group_.backend, group_.format, group_.model.layers,
                                            static_cast<std::int64_t>(first_position));
    }
    const protocol::AttentionSpec& spec = plan_answer.attention;
    if (plan_answer.context && (spec.mode == protocol::AttentionMode::retrieval || spec.wants_provenance)) {
      const PlanContext& context = contexts_.at(plan_answer.context);
      const std::uint32_t window = config_.window ? config_.window : model_.hyperparameters.context_length;
      answer->retrieval = std::make_unique<Retrieval>(group_, spec, context.chunks, context.token_count,
                                                      context.kept.landmarks, window);
    }
    answers_[plan_answer.request] = std::move(answer);
  }
}

void RankEngine::lay_out_rows(const StepPlan& plan, Step& step) {
  step.items.resize(plan.items.size());
  // Prefill rows first, then decode rows; within each, items in the plan's order.
  for (const bool is_prefill : {true, false}) {
    for (std::size_t index = 0; index < plan.items.size(); ++index) {
      const StepItem& item = plan.items[index];
      if ((item.kind != StepItem::Kind::answer) != is_prefill) continue;
      AttentionItem& attended = step.items[index];
      const auto place = [&](std::uint32_t on_rank, RowRun run) {
        attended.runs.push_back({on_rank, run.count(), static_cast<std::int64_t>(item.first_position + run.begin),
                                 step.rows.tokens.size()});
        if (on_rank != rank()) return;
        for (std::size_t row = run.begin; row < run.end; ++row) {
          const bool is_last = row + 1 == item.tokens.size();
          const bool is_scoring = row < item.scored.size();
          if (is_scoring || item.logits == LogitRows::all || (item.logits == LogitRows::last && is_last)) {
            step.rows.logit_rows.push_back(step.rows.tokens.size());
            step.logit_rows.push_back({index, row, step.rows.tokens.size()});
          }
          step.rows.tokens.push_back(item.tokens[row]);
        }
      };
      if (item.kind == StepItem::Kind::chunk) {
        const PlanContext& context = contexts_.at(item.context);
        attended.chunks = &context.chunks;
        attended.visible_end = item.first_position + item.tokens.size();
        attended.appends_to_context = true;
        attended.chunk_end =
            protocol::chunk_range(item.first_position / protocol::kChunkTokens, context.token_count).end;
        attended.kept = context.kept;
        for (std::uint32_t r = 0; r < size(); ++r) place(r, rows_of_rank(item.tokens.size(), r, size()));
      } else {
        Answer& answer = *answers_.at(item.request);
        if (answer.plan.context) {
          const PlanContext& context = contexts_.at(answer.plan.context);
          attended.chunks = &context.chunks;
          attended.visible_end = context.token_count;
        }
        attended.tail = answer.tail.get();
        // A second pass begins before the end of the tail.
        if (attended.tail) attended.tail->cut(item.first_position - attended.tail->first_position());
        attended.retrieval = answer.retrieval.get();
        attended.votes = item.votes;
        attended.audits = answer.plan.attention.audits;
        attended.measures = item.ends_question && answer.plan.attention.wants_missed_mass;
        attended.is_prefill = is_prefill;
        place(answer.plan.home, {0, item.tokens.size()});
      }
    }
    if (is_prefill) step.rows.prefill_count = step.rows.tokens.size();
  }
}

void RankEngine::finish_rows(const StepPlan& plan, Step& step, kernels::ConstMatrix logits, StepReport& report) {
  for (std::size_t index = 0; index < step.items.size(); ++index) {
    AttentionItem& item = step.items[index];
    if (item.tail) item.tail->grow(plan.items[index].tokens.size());
    if (!item.failure) continue;
    report.failures.push_back(
        {false, static_cast<std::uint32_t>(index), item.failure->code, item.failure->message, item.failure->damaged});
  }
  for (std::size_t i = 0; i < step.logit_rows.size(); ++i) {
    const auto& row = step.logit_rows[i];
    const StepItem& item = plan.items[row.item];
    if (step.items[row.item].failure) continue;
    const std::span<const float> values(logits.row(i), logits.columns);
    if (on_logits) on_logits(item, row.row, values);
    if (item.kind == StepItem::Kind::chunk) continue;
    const protocol::SamplingSpec& spec = answers_.at(item.request)->plan.sampling;
    const auto index = static_cast<std::uint32_t>(row.item);
    if (row.row < item.scored.size()) {
      report.scores.push_back({index, worker::report(values, item.scored[row.row], spec.logprobs)});
    }
    if (item.logits != LogitRows::last || row.row + 1 != item.tokens.size()) continue;
    report.samples.push_back(
        {index, sample(values, {spec.temperature, spec.top_k, spec.top_p, spec.min_p, spec.seed, spec.logprobs},
                       item.sample_index)});
  }
}

// Votes are counted by all ranks together, also where an item has failed.
void RankEngine::report_attention(const StepPlan& plan, StepReport& report) {
  for (std::size_t index = 0; index < plan.items.size(); ++index) {
    const StepItem& item = plan.items[index];
    if (!item.ends_votes && !item.ends_question) continue;
    const Answer& answer = *answers_.at(item.request);
    if (item.ends_votes) answer.retrieval->count_votes();
    if (!item.ends_question || answer.plan.home != rank() || !answer.plan.context) continue;
    protocol::AttentionReport said;
    said.mode = answer.plan.attention.mode;
    said.landmark = answer.plan.attention.landmark;
    said.context_tokens = said.attended_tokens = contexts_.at(answer.plan.context).token_count;
    for (std::uint32_t layer = 0; layer < group_.model.layers; ++layer) {
      if (group_.model.attention_of(layer).window == 0) {
        said.blocks_read += protocol::ceil_div(said.context_tokens, protocol::kBlockTokens);
      }
    }
    if (answer.retrieval) {
      said.attended_tokens = answer.retrieval->attended_tokens();
      said.pinned_pages = static_cast<std::uint32_t>(answer.retrieval->pinned_pages());
      said.second_pass = said.pinned_pages > 0;
      said.evidence = answer.retrieval->evidence();
      said.blocks_read = answer.retrieval->blocks_read();
      said.missed_mass = answer.retrieval->missed_mass();
    }
    report.attention.push_back({static_cast<std::uint32_t>(index), std::move(said)});
  }
}

void RankEngine::commit(const StepPlan& plan, StepReport& report) {
  for (std::uint32_t index = 0; index < plan.commits.size(); ++index) {
    const PlanCommit& order = plan.commits[index];
    std::vector<VolumeId> volumes;
    for (const protocol::PlacementRun& run : order.record.placement) {
      const auto holder = group_.holders.find(run.volume);
      const bool is_new = std::find(volumes.begin(), volumes.end(), run.volume) == volumes.end();
      if (holder != group_.holders.end() && holder->second == rank() && is_new) volumes.push_back(run.volume);
    }
    for (const VolumeId volume : volumes) {
      protocol::ManifestRecord record = order.record;
      record.volume = volume;
      try {
        const std::uint64_t hash = store_.commit(std::move(record), order.catalogue_sequence);
        report.commits.push_back({index, {volume, hash}});
      } catch (const protocol::Error& error) {
        report.failures.push_back({true, index, error.code(), error.message(), {}});
      }
    }
  }
}

void RankEngine::count(const StepPlan& plan, const Step& step) {
  for (std::size_t index = 0; index < plan.items.size(); ++index) {
    for (const ItemRun& run : step.items[index].runs) {
      if (run.rank != rank()) continue;
      const StepItem& item = plan.items[index];
      (item.kind == StepItem::Kind::answer ? counters_.tokens_decoded : counters_.tokens_prefilled) += run.count;
      const auto first = static_cast<std::uint64_t>(run.first_position);
      const std::uint64_t end = std::min(first + run.count, std::max(item.computed_before, first));
      counters_.tokens_recomputed += end - first;
    }
  }
}

}  // namespace rotulus::worker
