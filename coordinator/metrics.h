// What the coordinator counts, in Prometheus' text form. Names follow what servers of language models call them, with
// the prefix rotulus_ and base units.
//
// Threads: any. A counter is there with 0 from the start, so that a rate can be taken of it.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "protocol/messages.h"

namespace rotulus::coordinator {

// Gauges, read when they are asked for.
struct MetricsSnapshot {
  std::size_t requests_running = 0;
  std::size_t requests_waiting = 0;
  std::map<std::string, std::size_t> contexts_by_status;
  std::uint64_t ram_bytes = 0;
  std::uint64_t ram_bytes_budget = 0;
  std::uint64_t disk_bytes = 0;
  std::size_t ranks_connected = 0;
  bool is_ready = false;
  std::map<std::uint32_t, std::vector<protocol::MachineRate>> rates_by_rank;
};

class Metrics final {
 public:
  Metrics();
  ~Metrics();

  // The text form of everything. Event loop only, as the source is.
  std::string serialize();
  void set_source(std::function<MetricsSnapshot()> source);

  void observe_http(std::string_view route, int status);

  void add_prompt_tokens(std::uint64_t tokens, std::uint64_t cached);
  void add_generation_token();
  void observe_time_to_first_token(double seconds);
  void observe_inter_token_latency(double seconds);
  void observe_queue_time(double seconds);
  void observe_request(std::string_view finished_reason, double seconds);  // stop, length, error, cancelled
  void count_answer(protocol::AttentionMode mode);                         // finished; exact or retrieval

  void count_worker_group_lost();
  void count_chunk_committed(std::uint64_t tokens);
  void count_chunk_repaired();
  void add_shared_tokens(std::uint64_t tokens);  // listed in a context, not computed for it
  // What a rank did since it reported last on the same connection.
  void add_worker_stats(const protocol::WorkerStats& before, const protocol::WorkerStats& now);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace rotulus::coordinator
