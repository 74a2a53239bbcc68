#include "coordinator/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <utility>

namespace rotulus::coordinator {
namespace {

using prometheus::BuildCounter;
using prometheus::BuildGauge;
using prometheus::BuildHistogram;
using prometheus::Counter;
using prometheus::Family;
using prometheus::Gauge;
using prometheus::Histogram;
using prometheus::Registry;

// A long document may take an hour before its first token.
const Histogram::BucketBoundaries kLongSeconds = {0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1,   2.5,  5,
                                                  10,   20,    40,   80,  160,  400, 900, 1800, 3600};
const Histogram::BucketBoundaries kShortSeconds = {0.001, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.08,
                                                   0.16,  0.32,   0.64,  1.28, 2.56, 5,    10};

Family<Counter>& counters(Registry& registry, const char* name, const char* help) {
  return BuildCounter().Name(name).Help(help).Register(registry);
}
Counter& counter(Registry& registry, const char* name, const char* help) {
  return counters(registry, name, help).Add({});
}
Family<Gauge>& gauges(Registry& registry, const char* name, const char* help) {
  return BuildGauge().Name(name).Help(help).Register(registry);
}
Gauge& gauge(Registry& registry, const char* name, const char* help) {
  return gauges(registry, name, help).Add({});
}
Histogram& histogram(Registry& registry, const char* name, const char* help,
                     const Histogram::BucketBoundaries& buckets) {
  return BuildHistogram().Name(name).Help(help).Register(registry).Add({}, buckets);
}

}  // namespace

struct Metrics::State {
  Registry registry;
  std::function<MetricsSnapshot()> source = [] { return MetricsSnapshot{}; };

  Family<Counter>& http_requests =
      counters(registry, "rotulus_http_requests_total", "HTTP requests answered, by route and status");
  Family<Counter>& requests_finished =
      counters(registry, "rotulus_request_success_total", "Answers that ended, by the reason why");
  Family<Counter>& answers =
      counters(registry, "rotulus_answers_total", "Answers that finished, by how they attended to their context");
  Counter& prompt_tokens = counter(registry, "rotulus_prompt_tokens_total", "Prompt tokens of admitted requests");
  Counter& prompt_tokens_cached =
      counter(registry, "rotulus_prompt_tokens_cached_total", "Of those: read from a context that was there before");
  Counter& generation_tokens = counter(registry, "rotulus_generation_tokens_total", "Tokens given to clients");
  Histogram& time_to_first_token = histogram(registry, "rotulus_time_to_first_token_seconds",
                                             "From a request's arrival to its first token", kLongSeconds);
  Histogram& inter_token_latency =
      histogram(registry, "rotulus_inter_token_latency_seconds", "Between two tokens of an answer", kShortSeconds);
  Histogram& queue_time = histogram(registry, "rotulus_request_queue_time_seconds",
                                    "From a request's arrival to its start on the workers", kLongSeconds);
  Histogram& request_latency = histogram(registry, "rotulus_e2e_request_latency_seconds",
                                         "From a request's arrival to the end of its answer", kLongSeconds);

  Counter& groups_lost =
      counter(registry, "rotulus_worker_group_restarts_total", "Worker groups that were lost or replaced");
  Counter& chunks_committed = counter(registry, "rotulus_chunks_committed_total", "Chunks that became visible");
  Counter& chunks_repaired =
      counter(registry, "rotulus_chunks_repaired_total", "Damaged chunks that were given to be computed again");
  Counter& shared_tokens = counter(registry, "rotulus_context_tokens_shared_total",
                                   "Tokens of chunks that a context lists because another one had computed them");
  Counter& context_tokens = counter(registry, "rotulus_context_tokens_committed_total", "Tokens of committed chunks");
  Counter& recomputed_tokens =
      counter(registry, "rotulus_recomputed_tokens_total",
              "Rows of the forward pass that had been computed before, counted there, over all ranks and lives");
  Counter& prefilled_tokens =
      counter(registry, "rotulus_prefilled_tokens_total", "Rows of the forward pass in the role of prefill");
  Counter& decoded_tokens =
      counter(registry, "rotulus_decoded_tokens_total", "Rows of the forward pass in the role of decode");
  Counter& blocks_loaded = counter(registry, "rotulus_blocks_loaded_total", "Blocks read from disk");
  Counter& blocks_verified =
      counter(registry, "rotulus_blocks_verified_total", "Blocks whose checksum and identity were verified");
  Counter& blocks_corrupt = counter(registry, "rotulus_blocks_corrupt_total", "Blocks that failed verification");
  Counter& blocks_evicted = counter(registry, "rotulus_blocks_evicted_total", "Blocks evicted from host memory");
  Counter& prefetched_used = counter(registry, "rotulus_blocks_prefetched_used_total",
                                     "Blocks read before they were asked for, and then asked for");
  Counter& prefetched_unused =
      counter(registry, "rotulus_blocks_prefetched_unused_total",
              "Blocks read before they were asked for that left host memory without being asked for");
  Counter& steps = counter(registry, "rotulus_steps_total", "Steps run, summed over ranks");
  Counter& step_seconds = counter(registry, "rotulus_step_seconds_total", "Time in steps, summed over ranks");

  Gauge& running = gauge(registry, "rotulus_num_requests_running", "Requests that run on the workers");
  Gauge& waiting = gauge(registry, "rotulus_num_requests_waiting", "Requests that wait to be started");
  Family<Gauge>& contexts = gauges(registry, "rotulus_contexts", "Contexts in the catalogue, by status");
  Family<Gauge>& tier_bytes = gauges(registry, "rotulus_kv_bytes", "Bytes of KV by tier, summed over ranks");
  Gauge& ram_budget = gauge(registry, "rotulus_kv_ram_budget_bytes", "Budget of host memory for KV over all ranks");
  Gauge& ranks = gauge(registry, "rotulus_worker_ranks", "Ranks of the present worker group");
  Family<Gauge>& machine_rates = gauges(registry, "rotulus_machine_operations_per_second",
                                        "What a thread of a rank's machine was measured to do, by instruction");
  Family<Gauge>& machine_reads =
      gauges(registry, "rotulus_machine_read_bytes_per_second", "What so many threads together were measured to read");
  Gauge& ready = gauge(registry, "rotulus_ready", "1 while a worker group is ready");
};

Metrics::Metrics() : state_(std::make_unique<State>()) {
  for (const char* reason : {"stop", "length", "error", "cancelled"}) {
    state_->requests_finished.Add({{"finished_reason", reason}});
  }
  for (const char* mode : {"exact", "retrieval"}) state_->answers.Add({{"attention", mode}});
}
Metrics::~Metrics() = default;

void Metrics::set_source(std::function<MetricsSnapshot()> source) {
  state_->source = std::move(source);
}

std::string Metrics::serialize() {
  const MetricsSnapshot now = state_->source();
  state_->running.Set(static_cast<double>(now.requests_running));
  state_->waiting.Set(static_cast<double>(now.requests_waiting));
  for (const auto& [status, count] : now.contexts_by_status) {
    state_->contexts.Add({{"status", status}}).Set(static_cast<double>(count));
  }
  state_->tier_bytes.Add({{"tier", "ram"}}).Set(static_cast<double>(now.ram_bytes));
  state_->tier_bytes.Add({{"tier", "disk"}}).Set(static_cast<double>(now.disk_bytes));
  state_->ram_budget.Set(static_cast<double>(now.ram_bytes_budget));
  state_->ranks.Set(static_cast<double>(now.ranks_connected));
  state_->ready.Set(now.is_ready ? 1 : 0);
  for (const auto& [rank, rates] : now.rates_by_rank) {
    for (const protocol::MachineRate& rate : rates) {
      const std::string of_rank = std::to_string(rank);
      Gauge& gauge = rate.name == "read"
                         ? state_->machine_reads.Add({{"rank", of_rank}, {"threads", std::to_string(rate.threads)}})
                         : state_->machine_rates.Add({{"rank", of_rank}, {"instruction", rate.name}});
      gauge.Set(rate.per_second);
    }
  }
  return prometheus::TextSerializer().Serialize(state_->registry.Collect());
}

void Metrics::observe_http(std::string_view route, int status) {
  state_->http_requests.Add({{"route", std::string(route)}, {"status", std::to_string(status)}}).Increment();
}

void Metrics::add_prompt_tokens(std::uint64_t tokens, std::uint64_t cached) {
  state_->prompt_tokens.Increment(static_cast<double>(tokens));
  state_->prompt_tokens_cached.Increment(static_cast<double>(cached));
}
void Metrics::add_generation_token() {
  state_->generation_tokens.Increment();
}
void Metrics::observe_time_to_first_token(double seconds) {
  state_->time_to_first_token.Observe(seconds);
}
void Metrics::observe_inter_token_latency(double seconds) {
  state_->inter_token_latency.Observe(seconds);
}
void Metrics::observe_queue_time(double seconds) {
  state_->queue_time.Observe(seconds);
}
void Metrics::observe_request(std::string_view finished_reason, double seconds) {
  state_->requests_finished.Add({{"finished_reason", std::string(finished_reason)}}).Increment();
  state_->request_latency.Observe(seconds);
}

void Metrics::count_answer(protocol::AttentionMode mode) {
  const char* name = mode == protocol::AttentionMode::retrieval ? "retrieval" : "exact";
  state_->answers.Add({{"attention", name}}).Increment();
}

void Metrics::count_worker_group_lost() {
  state_->groups_lost.Increment();
}
void Metrics::count_chunk_committed(std::uint64_t tokens) {
  state_->chunks_committed.Increment();
  state_->context_tokens.Increment(static_cast<double>(tokens));
}
void Metrics::count_chunk_repaired() {
  state_->chunks_repaired.Increment();
}

void Metrics::add_shared_tokens(std::uint64_t tokens) {
  state_->shared_tokens.Increment(static_cast<double>(tokens));
}

void Metrics::add_worker_stats(const protocol::WorkerStats& before, const protocol::WorkerStats& now) {
  // A rank's counters never fall; a report that says so is not believed.
  const auto add = [](Counter& counter, auto old_value, auto new_value) {
    if (new_value > old_value) counter.Increment(static_cast<double>(new_value - old_value));
  };
  add(state_->recomputed_tokens, before.tokens_recomputed, now.tokens_recomputed);
  add(state_->prefilled_tokens, before.tokens_prefilled, now.tokens_prefilled);
  add(state_->decoded_tokens, before.tokens_decoded, now.tokens_decoded);
  add(state_->blocks_loaded, before.blocks_loaded, now.blocks_loaded);
  add(state_->blocks_verified, before.blocks_verified, now.blocks_verified);
  add(state_->blocks_corrupt, before.blocks_corrupt, now.blocks_corrupt);
  add(state_->blocks_evicted, before.blocks_evicted, now.blocks_evicted);
  add(state_->prefetched_used, before.prefetched_used, now.prefetched_used);
  add(state_->prefetched_unused, before.prefetched_unused, now.prefetched_unused);
  add(state_->steps, before.steps, now.steps);
  add(state_->step_seconds, before.step_seconds, now.step_seconds);
}

}  // namespace rotulus::coordinator
