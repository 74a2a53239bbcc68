#include "tests/support/local_group.h"

#include <fmt/format.h>

#include <algorithm>
#include <random>
#include <stdexcept>

#include "protocol/error.h"
#include "protocol/token_range.h"

namespace rotulus::testing {

using namespace std::chrono_literals;

// The queue of the group as one rank sees it.
class LocalGroup::Source final : public worker::WorkSource {
 public:
  Source(LocalGroup& group, std::uint32_t rank) : group_(group), rank_(rank) {}

  std::vector<protocol::Message> take_work() override {
    std::lock_guard lock(group_.mutex_);
    std::vector<protocol::Message> taken(std::make_move_iterator(group_.work_.begin()),
                                         std::make_move_iterator(group_.work_.end()));
    group_.work_.clear();
    seen_ += taken.size();
    return taken;
  }
  std::uint64_t work_seen() override { return seen_; }
  void park(std::uint64_t seen) override {
    std::unique_lock lock(group_.mutex_);
    group_.changed_.wait(lock, [&] {
      return group_.is_stopping_ || !group_.ended_.empty() ||
             (rank_ == 0 ? !group_.work_.empty() : group_.work_sent_ > seen);
    });
  }
  bool is_stopping() override {
    std::lock_guard lock(group_.mutex_);
    return group_.is_stopping_;
  }

 private:
  LocalGroup& group_;
  std::uint32_t rank_;
  std::uint64_t seen_ = 0;
};

LocalGroup::LocalGroup(const LocalGroupConfig& config, LogitObserver on_logits)
    : config_(config), on_logits_(std::move(on_logits)), next_object_(std::random_device{}() | 1ull << 40) {
  for (std::uint32_t rank = 0; rank < config.ranks; ++rank) {
    backends_.push_back(kernels::make_cpu_backend(config.isa, config.threads, config.arithmetic));
  }
  model_ = worker::load_model(config.model_path, *backends_[0]);
  tokenizer_ = std::make_unique<worker::Tokenizer>(model_->file);
  std::vector<std::filesystem::path> volumes;  // those of an earlier life are dealt to the ranks, each has at least one
  std::filesystem::create_directories(config.store_path);
  for (const auto& entry : std::filesystem::directory_iterator(config.store_path)) volumes.push_back(entry.path());
  std::sort(volumes.begin(), volumes.end());
  while (volumes.size() < config.ranks) volumes.push_back(config.store_path / fmt::format("{:04}", volumes.size()));
  const auto& h = model_->hyperparameters;
  for (std::uint32_t rank = 0; rank < config.ranks; ++rank) {
    memory_store::KvStoreConfig store;
    for (std::size_t i = rank; i < volumes.size(); i += config.ranks) store.volume_paths.push_back(volumes[i]);
    store.layers = h.layers;
    store.format = {config.kv_type, h.kv_heads, h.head_dim};
    store.host_budget_bytes = config.host_budget_bytes;
    store.landmark_bytes = kernels::landmark_stripe_bytes(store.format);
    store.bounds_bytes = kernels::bounds_stripe_bytes(store.format);
    store.centroid_bytes = kernels::centroids_stripe_bytes(store.format);
    store.landmark_budget_bytes = config.landmark_budget_bytes;
    stores_.push_back(memory_store::KvStore::open(store));
    sources_.push_back(std::make_unique<Source>(*this, rank));
  }
  transports_ = worker::make_local_transports(config.ranks, config.faults);
  engines_.resize(config.ranks);
  for (std::uint32_t rank = 0; rank < config.ranks; ++rank) threads_.emplace_back([this, rank] { run_rank(rank); });
}

LocalGroup::~LocalGroup() {
  {
    std::lock_guard lock(mutex_);
    is_stopping_ = true;
  }
  changed_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void LocalGroup::run_rank(std::uint32_t rank) {
  try {
    engines_[rank] = std::make_unique<worker::RankEngine>(
        *model_, *backends_[rank], *stores_[rank], *transports_[rank],
        worker::RankEngineConfig{config_.kv_type, config_.strategy, config_.window});
    std::unique_ptr<worker::Scheduler> scheduler;
    engines_[rank]->on_logits = on_logits_;
    if (rank == 0) {
      worker::SchedulerConfig setting;
      setting.rank_count = config_.ranks;
      setting.context_length = config_.window ? config_.window : model_->hyperparameters.context_length;
      setting.vocabulary = model_->hyperparameters.vocabulary;
      setting.step_tokens = config_.step_tokens;
      setting.holders = engines_[rank]->volume_holders();
      scheduler = std::make_unique<worker::Scheduler>(setting, *tokenizer_, [this](protocol::Message message) {
        std::lock_guard lock(mutex_);
        events_.push_back(std::move(message));
        changed_.notify_all();
      });
    }
    worker::serve_rank(*transports_[rank], *engines_[rank], scheduler.get(), *sources_[rank]);
  } catch (const std::exception& error) {
    std::lock_guard lock(mutex_);
    ended_ = fmt::format("rank {}: {}", rank, error.what());
    changed_.notify_all();
  }
}

void LocalGroup::send(protocol::Message message) {
  std::lock_guard lock(mutex_);
  work_.push_back(std::move(message));
  ++work_sent_;
  changed_.notify_all();
}

protocol::Message LocalGroup::receive() {
  std::unique_lock lock(mutex_);
  if (!changed_.wait_for(lock, 120s, [&] { return !events_.empty() || !ended_.empty(); })) {
    throw std::runtime_error("the group was silent for two minutes");
  }
  if (events_.empty()) throw std::runtime_error(ended_);
  protocol::Message message = std::move(events_.front());
  events_.pop_front();
  return message;
}

void LocalGroup::open_context(protocol::ContextId id, const std::vector<protocol::TokenId>& ids,
                              const std::vector<protocol::ObjectRecord>& chunks) {
  protocol::OpenContext open;
  open.context = id;
  open.parameters.retrieval = config_.retrieval;
  open.description.token_count = ids.size();
  open.chunks = chunks;
  open.chunks.resize(protocol::chunk_count(ids.size()));
  send(open);
  send(protocol::ContextTokens{id, 0, ids});
}

std::vector<protocol::ObjectRecord> LocalGroup::commit_context(protocol::ContextId id,
                                                               const std::vector<protocol::TokenId>& ids) {
  std::vector<protocol::ObjectRecord> records;
  open_context(id, ids, {});
  const auto chunks = static_cast<std::uint32_t>(protocol::chunk_count(ids.size()));
  for (std::uint32_t chunk = 0; chunk < chunks; ++chunk) {
    send(protocol::ComputeChunk{id, chunk, protocol::ObjectId{next_object_++}, 0, 0});
    for (;;) {
      const protocol::Message message = receive();
      if (const auto* failed = std::get_if<protocol::ComputeFailed>(&message))
        throw std::runtime_error(failed->message);
      const auto* committed = std::get_if<protocol::ChunkCommitted>(&message);
      if (!committed) continue;
      records.push_back(committed->record);
      break;
    }
  }
  return records;
}

std::vector<protocol::AnswerToken> LocalGroup::answer(const protocol::StartAnswer& start) {
  send(start);
  std::vector<protocol::AnswerToken> tokens;
  for (;;) {
    const protocol::Message message = receive();
    if (const auto* failed = std::get_if<protocol::AnswerFailed>(&message)) throw std::runtime_error(failed->message);
    if (const auto* token = std::get_if<protocol::AnswerToken>(&message)) tokens.push_back(*token);
    if (std::get_if<protocol::AnswerFinished>(&message)) return tokens;
  }
}

}  // namespace rotulus::testing
