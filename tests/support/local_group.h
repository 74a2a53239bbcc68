// A worker group whose ranks are threads of this process: real engine, scheduler, store and kernels over the transport
// of threads. What the processes of a cluster run, without the processes.
#pragma once

#include <condition_variable>
#include <deque>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "kernels/backend.h"
#include "memory_store/kv_store.h"
#include "worker/model/model.h"
#include "worker/model/tokenizer.h"
#include "worker/parallel/transport.h"
#include "worker/service.h"

namespace rotulus::testing {

struct LocalGroupConfig {
  std::filesystem::path model_path;
  std::filesystem::path store_path;  // volumes are made under it; kept
  std::uint32_t ranks = 1;
  std::size_t threads = 1;  // per rank
  kernels::Isa isa = kernels::Isa::automatic;
  kernels::Arithmetic arithmetic = kernels::Arithmetic::f32;
  kernels::KvType kv_type = kernels::KvType::f16;
  std::size_t host_budget_bytes = std::size_t{1} << 30;        // per rank, for KV
  std::size_t landmark_budget_bytes = std::size_t{256} << 20;  // per rank
  protocol::RetrievalParameters retrieval;                     // of the contexts it is given
  std::uint32_t window = 0;                                    // 0: the model's
  std::uint32_t step_tokens = 0;
  worker::Strategy strategy = worker::Strategy::automatic;
  worker::LocalFaults faults;
};

// The logits of every answer row: hashed in order of (request, index).
using LogitObserver = std::function<void(const worker::StepItem&, std::size_t row, std::span<const float>)>;

class LocalGroup final {
 public:
  explicit LocalGroup(const LocalGroupConfig& config, LogitObserver on_logits = {});
  ~LocalGroup();

  void send(protocol::Message message);
  // The next message of the sequencer; throws std::runtime_error after two minutes of silence or when a rank ended.
  protocol::Message receive();

  // Computes and commits a context from its ids, chunk after chunk; the records as a catalogue would keep them.
  std::vector<protocol::ObjectRecord> commit_context(protocol::ContextId id, const std::vector<protocol::TokenId>& ids);
  // Makes known a context that was committed before (in an earlier life of the store).
  void open_context(protocol::ContextId id, const std::vector<protocol::TokenId>& ids,
                    const std::vector<protocol::ObjectRecord>& chunks);
  // Runs an answer to its end; its tokens.
  std::vector<protocol::AnswerToken> answer(const protocol::StartAnswer& start);

  memory_store::KvStore& store(std::uint32_t rank) { return *stores_[rank]; }
  const worker::RankEngine& engine(std::uint32_t rank) { return *engines_[rank]; }
  const worker::Model& model() const { return *model_; }

 private:
  class Source;
  void run_rank(std::uint32_t rank);

  LocalGroupConfig config_;
  LogitObserver on_logits_;
  std::vector<std::unique_ptr<kernels::Backend>> backends_;
  std::unique_ptr<worker::Model> model_;
  std::unique_ptr<worker::Tokenizer> tokenizer_;
  std::vector<std::unique_ptr<memory_store::KvStore>> stores_;
  std::vector<std::unique_ptr<worker::Transport>> transports_;
  std::vector<std::unique_ptr<worker::RankEngine>> engines_;
  std::vector<std::unique_ptr<Source>> sources_;
  std::vector<std::thread> threads_;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<protocol::Message> work_;
  std::uint64_t work_sent_ = 0;
  std::deque<protocol::Message> events_;
  bool is_stopping_ = false;
  std::string ended_;  // what a rank died of
  std::uint64_t next_object_;
};

}  // namespace rotulus::testing
