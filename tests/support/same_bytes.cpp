#include "tests/support/same_bytes.h"

#include <fmt/format.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <bit>
#include <map>
#include <mutex>

#include "tests/support/local_group.h"

namespace rotulus::testing {
namespace {

using protocol::ContextId;
using protocol::RequestId;
using protocol::TokenId;

// Hashes by (request, index), because ranks compute different requests at the same time.
class LogitHashes {
 public:
  void observe(const worker::StepItem& item, std::span<const float> logits) {
    const std::uint64_t hash = XXH3_64bits(logits.data(), logits.size_bytes());
    std::lock_guard lock(mutex_);
    hashes_[{item.request.value, item.sample_index}] = hash;
  }
  std::uint64_t of_request(std::uint64_t request) const {
    std::vector<std::uint64_t> all;
    for (const auto& [key, hash] : hashes_) {
      if (key.first == request) all.push_back(hash);
    }
    return XXH3_64bits(all.data(), all.size() * sizeof(std::uint64_t));
  }

 private:
  std::mutex mutex_;
  std::map<std::pair<std::uint64_t, std::uint64_t>, std::uint64_t> hashes_;
};

protocol::StartAnswer make_answer(std::uint64_t request, ContextId context, std::vector<TokenId> question,
                                  std::size_t tokens, const protocol::AttentionSpec& attention) {
  protocol::StartAnswer start;
  start.request = RequestId{request};
  start.context = context;
  start.question = std::move(question);
  start.sampling.temperature = 0;
  start.max_tokens = static_cast<std::uint32_t>(tokens);
  start.ignore_eos = true;
  start.attention = attention;
  return start;
}

}  // namespace

std::string SameBytesRun::name() const {
  return fmt::format(
      "prompt={} ranks={} threads={} batch={} budget={} step={} restart={}{} strategy={} kv={} isa={} {}",
      prompt_tokens, ranks, threads, batch, small_budget ? "quarter" : "ample", step_tokens, restart,
      restart_ranks ? fmt::format("(ranks={})", restart_ranks) : "", static_cast<int>(strategy),
      kernels::to_string(kv_type), kernels::to_string(isa), kernels::to_string(arithmetic));
}

std::vector<TokenId> make_prompt(std::size_t count, std::uint32_t vocabulary) {
  std::vector<TokenId> ids;
  std::uint64_t state = 0x9e3779b97f4a7c15ull;
  for (std::size_t i = 0; i < count; ++i) {
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    // Runs of common tokens with rare ones between them, as text has.
    const std::uint64_t draw = state >> 33;
    const std::uint64_t common = std::min(1500u, vocabulary - 100);
    ids.push_back(static_cast<TokenId>(draw % 5 == 0 ? 100 + draw % (vocabulary - 100) : 100 + draw % common));
  }
  return ids;
}

SameBytesResult run_same_bytes(const SameBytesRun& run, const std::filesystem::path& model,
                               const std::filesystem::path& store_parent) {
  static int serial = 0;
  const auto store = store_parent / fmt::format("same-bytes-{}-{}", ::getpid(), serial++);
  LocalGroupConfig config;
  config.model_path = model;
  config.store_path = store;
  config.ranks = run.ranks;
  config.threads = run.threads;
  config.step_tokens = run.step_tokens;
  config.strategy = run.strategy;
  config.retrieval = run.retrieval;
  config.window = run.window;
  config.kv_type = run.kv_type;
  config.isa = run.isa;
  config.arithmetic = run.arithmetic;

  LogitHashes hashes;
  const auto observe = [&](const worker::StepItem& item, std::size_t, std::span<const float> logits) {
    hashes.observe(item, logits);
  };
  SameBytesResult result;
  std::vector<protocol::ObjectRecord> records;
  std::vector<TokenId> ids;
  std::vector<TokenId> question;
  const ContextId context{7};
  const auto ask = [&](LocalGroup& group, std::uint32_t ranks) {
    for (std::size_t i = 1; i < run.batch; ++i) {
      std::vector<TokenId> other = question;
      other.push_back(static_cast<TokenId>(200 + i));
      group.send(make_answer(100 + i, ids.empty() ? ContextId{} : context, other, run.generated_tokens, run.attention));
    }
    group.send(make_answer(1, ids.empty() ? ContextId{} : context, question, run.generated_tokens, run.attention));
    for (std::size_t finished = 0; finished < run.batch;) {
      const protocol::Message message = group.receive();
      if (const auto* failed = std::get_if<protocol::AnswerFailed>(&message)) throw std::runtime_error(failed->message);
      if (const auto* token = std::get_if<protocol::AnswerToken>(&message); token && token->request.value == 1) {
        result.tokens.push_back(token->token);
      }
      if (const auto* over = std::get_if<protocol::AnswerFinished>(&message)) {
        if (over->request.value == 1) result.attention = over->attention;
        ++finished;
      }
    }
    for (std::uint32_t rank = 0; rank < ranks; ++rank) {
      const memory_store::KvStore::Stats stats = group.store(rank).stats();
      result.blocks_loaded += stats.blocks_loaded;
      result.prefetched_used += stats.prefetched_used;
      result.tokens_recomputed += group.engine(rank).counters().tokens_recomputed;
    }
  };
  {
    const worker::Hyperparameters h = worker::read_hyperparameters(worker::GgufFile::open(model));
    ids = make_prompt(run.prompt_tokens, h.vocabulary);
    const std::size_t question_tokens = std::min(run.question_tokens, ids.size());
    question.assign(ids.end() - static_cast<std::ptrdiff_t>(question_tokens), ids.end());
    ids.resize(ids.size() - question_tokens);
    if (run.small_budget) {
      const kernels::KvFormat format{config.kv_type, h.kv_heads, h.head_dim};
      const std::size_t quarter = run.prompt_tokens * format.token_bytes() * h.layers / 4 / run.ranks;
      // Never less than one layer's share and the open block of every layer.
      const std::size_t floor = (h.layers + run.prompt_tokens / 128 + 9) * format.block_bytes();
      config.host_budget_bytes = std::max(quarter, floor);
      // One layer's landmarks, and the open stripe of every layer, of all kinds that are kept; the means of sketches
      // are.
      const auto kinds = static_cast<std::size_t>(std::popcount(run.retrieval.landmarks & ~protocol::kKeepsMeans));
      config.landmark_budget_bytes =
          (2 * kinds * h.layers + run.prompt_tokens / 512 + 8) * kernels::landmark_stripe_bytes(format);
    }
  }
  {
    LocalGroup group(config, observe);
    if (!ids.empty()) records = group.commit_context(context, ids);
    if (!run.restart) ask(group, run.ranks);
  }
  if (run.restart) {
    if (run.restart_ranks) config.ranks = run.restart_ranks;
    LocalGroup group(config, observe);
    if (!ids.empty()) group.open_context(context, ids, records);
    ask(group, config.ranks);
  }
  result.logits_hash = hashes.of_request(1);
  std::filesystem::remove_all(store);
  return result;
}

}  // namespace rotulus::testing
