// rotulus-worker: constructs everything in order and passes it on.
#include <mpi.h>
#include <signal.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <iterator>
#include <random>
#include <thread>

#include "kernels/rates.h"
#include "protocol/error.h"
#include "worker/control_link.h"
#include "worker/options.h"
#include "worker/parallel/exchange.h"
#include "worker/service.h"
#include "worker/text_service.h"
#include "worker/volume_paths.h"
#include "worker/volume_service.h"

namespace rotulus::worker {
namespace {

// Exit codes: 0 drained · 1 cannot start (says why) · 3 the group is over (a peer or the coordinator was lost).
constexpr int kCannotStart = 1;
constexpr int kGroupIsOver = 3;

struct Place {
  std::uint32_t rank = 0;
  std::uint32_t size = 1;
  std::uint32_t local_rank = 0;
  std::uint32_t local_size = 1;
};

Place find_place() {
  int rank = 0, size = 1, local_rank = 0, local_size = 1;
  MPI_Comm host = MPI_COMM_NULL;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, rank, MPI_INFO_NULL, &host);
  MPI_Comm_rank(host, &local_rank);
  MPI_Comm_size(host, &local_size);
  MPI_Comm_free(&host);
  return {std::uint32_t(rank), std::uint32_t(size), std::uint32_t(local_rank), std::uint32_t(local_size)};
}

std::string read_secret(const std::filesystem::path& path) {
  if (path.empty()) return {};
  std::ifstream file(path, std::ios::binary);
  std::string secret((std::istreambuf_iterator<char>(file)), {});
  while (!secret.empty() && (secret.back() == '\n' || secret.back() == '\r')) secret.pop_back();
  if (secret.empty()) {
    throw protocol::Error(protocol::ErrorCode::invalid_argument,
                          fmt::format("the secret file {} is empty or cannot be read", path.string()));
  }
  return secret;
}

std::unique_ptr<memory_store::KvStore> open_store(const Options& options, const Place& place, const Model& model,
                                                  spdlog::logger& log) {
  memory_store::KvStoreConfig config;
  config.volume_paths =
      deal_volumes(options.store, place.local_rank, place.local_size, [] { MPI_Barrier(MPI_COMM_WORLD); });
  config.layers = model.hyperparameters.layers;
  config.format = {options.kv_type, model.hyperparameters.kv_heads, model.hyperparameters.head_dim};
  config.landmark_bytes = kernels::landmark_stripe_bytes(config.format);
  config.bounds_bytes = kernels::bounds_stripe_bytes(config.format);
  config.centroid_bytes = kernels::centroids_stripe_bytes(config.format);
  config.host_budget_bytes = options.host_bytes - options.landmark_bytes;
  config.landmark_budget_bytes = options.landmark_bytes;
  config.eviction = options.eviction;
  if (!options.access_trace.empty()) {
    config.access_trace = fmt::format("{}.rank{}", options.access_trace.string(), place.rank);
  }
  config.max_volume_bytes = options.disk_bytes;
  auto store = memory_store::KvStore::open(config);
  for (const auto& failure : store->failed_volumes()) {
    log.error("volume_failed path={} reason={}", failure.path, failure.reason);
  }
  if (store->volumes().empty()) {
    config.volume_paths.push_back(spare_volume(options.store, place.local_rank));
    log.warn("volume_made path={} because none of this rank's could be opened", config.volume_paths.back().string());
    store = memory_store::KvStore::open(config);
  }
  return store;
}

std::uint64_t count_parameters(const Model& model) {
  std::uint64_t count = 0;
  for (const GgufTensor& tensor : model.file.tensors()) {
    std::uint64_t elements = 1;
    for (const std::uint64_t dimension : tensor.shape) elements *= dimension;
    count += elements;
  }
  return count;
}

std::uint32_t window_of(const Options& options, const Model& model) {
  return options.context_length > 0 ? options.context_length : model.hyperparameters.context_length;
}

std::vector<protocol::MachineRate> to_words(const kernels::MachineRates& rates) {
  std::vector<protocol::MachineRate> words;
  for (const kernels::Instruction instruction : kernels::kInstructions) {
    words.push_back({std::string(to_string(instruction)), 1, rates.operations_of(instruction)});
  }
  for (const auto& read : rates.reads) {
    words.push_back({"read", static_cast<std::uint32_t>(read.threads), read.bytes_per_second});
  }
  return words;
}

protocol::Hello make_hello(const Options& options, const Place& place, std::uint64_t group, const Model& model,
                           const ChatTemplate* chat_template, const kernels::Backend& backend,
                           const memory_store::KvStore& store) {
  const Hyperparameters& h = model.hyperparameters;
  const kernels::KvFormat format{options.kv_type, h.kv_heads, h.head_dim};
  const kernels::Rope& rope = h.full_attention.rope;
  protocol::Hello hello;
  hello.group = group;
  hello.rank = place.rank;
  hello.size = place.size;
  char host[256] = {};
  ::gethostname(host, sizeof host - 1);
  hello.host = host;
  hello.pid = static_cast<std::uint64_t>(::getpid());
  hello.threads = static_cast<std::uint32_t>(backend.thread_count());
  hello.model.name = h.name;
  hello.model.architecture = h.architecture->name;
  hello.model.chat_template = chat_template ? chat_template->name() : "";
  hello.model.context_length = window_of(options, model);
  hello.model.trained_length = h.context_length;
  hello.model.vocabulary = h.vocabulary;
  hello.model.layers = h.layers;
  hello.model.parameter_count = count_parameters(model);
  hello.model.file_bytes = model.file.bytes();
  hello.model.kv = h.kv_cost(format.token_bytes());
  hello.parameters.model_fingerprint = model.fingerprint;
  hello.parameters.tokenizer_fingerprint = model.tokenizer_fingerprint;
  hello.parameters.rope =
      fmt::format("{} dims={} base={}", rope.pairing == kernels::RopePairing::neighbours ? "neighbours" : "halves",
                  rope.dims, rope.base);
  if (!h.rope_scaling.empty()) hello.parameters.rope += " scaling=" + h.rope_scaling;
  hello.parameters.kv_type = kernels::to_string(options.kv_type);
  hello.parameters.numerics_id = fmt::format("{}.kv-{}", backend.numerics_id(), hello.parameters.kv_type);
  hello.volumes = store.volumes();
  hello.failed_volumes = store.failed_volumes();
  return hello;
}

// The number that all ranks of one mpirun job share.
std::uint64_t agree_on_group(Transport& transport) {
  std::uint64_t group = 0;
  if (transport.rank() == 0) {
    std::random_device random;
    group = (std::uint64_t{random()} << 32 | random()) | 1;
  }
  std::vector<std::byte> bytes(std::as_bytes(std::span(&group, 1)).begin(), std::as_bytes(std::span(&group, 1)).end());
  broadcast(transport, 0, bytes);
  std::memcpy(&group, bytes.data(), sizeof group);
  return group;
}

// What the products of all ranks are computed in: as was asked, or as rank 0 proposes.
kernels::Arithmetic agree_on_arithmetic(const Options& options, const kernels::MachineRates& rates,
                                        Transport& transport) {
  if (options.arithmetic) return *options.arithmetic;
  std::vector<std::byte> choice{static_cast<std::byte>(propose_arithmetic(rates, options.isa))};
  broadcast(transport, 0, choice);
  return static_cast<kernels::Arithmetic>(choice.front());
}

std::size_t thread_count(const Options& options, const Place& place) {
  if (options.threads > 0) return options.threads;
  return std::max<std::size_t>(1, std::thread::hardware_concurrency() / place.local_size);
}

// Counters of the engine, copied between steps for the control plane's thread.
class SharedCounters final {
 public:
  void set(const RankEngine::Counters& counters) {
    std::lock_guard lock(mutex_);
    counters_ = counters;
  }
  protocol::Pong make_pong(const memory_store::KvStore& store) const {
    const auto kept = store.stats();
    protocol::Pong pong;
    pong.volumes = store.volumes();
    protocol::WorkerStats& stats = pong.stats;
    stats.host_bytes_used = kept.host_bytes_used + kept.landmark_bytes_used;
    stats.host_bytes_budget = kept.host_bytes_budget + kept.landmark_bytes_budget;
    stats.disk_bytes_used = kept.disk_bytes_used;
    stats.blocks_loaded = kept.blocks_loaded;
    stats.blocks_verified = kept.blocks_verified;
    stats.blocks_corrupt = kept.blocks_corrupt;
    stats.blocks_evicted = kept.blocks_evicted;
    stats.prefetched_used = kept.prefetched_used;
    stats.prefetched_unused = kept.prefetched_unused;
    std::lock_guard lock(mutex_);
    stats.tokens_prefilled = counters_.tokens_prefilled;
    stats.tokens_decoded = counters_.tokens_decoded;
    stats.tokens_recomputed = counters_.tokens_recomputed;
    stats.steps = counters_.steps;
    stats.step_seconds = counters_.step_seconds;
    return pong;
  }

 private:
  mutable std::mutex mutex_;
  RankEngine::Counters counters_;
};

// The control link, with the engine's counters copied whenever the engine looks for work.
class CountingSource final : public WorkSource {
 public:
  CountingSource(ControlLink& link, const RankEngine& engine, SharedCounters& counters)
      : link_(link), engine_(engine), counters_(counters) {}
  std::vector<protocol::Message> take_work() override { return link_.take_work(); }
  std::uint64_t work_seen() override { return link_.work_seen(); }
  void park(std::uint64_t seen) override {
    counters_.set(engine_.counters());
    link_.park(seen);
  }
  bool is_stopping() override {
    counters_.set(engine_.counters());
    return link_.is_stopping();
  }

 private:
  ControlLink& link_;
  const RankEngine& engine_;
  SharedCounters& counters_;
};

[[noreturn]] void end_group(spdlog::logger& log, const std::string& why) {
  log.error("group_over reason={}", why);
  log.flush();
  // Not exit(): another thread may be inside MPI, RocksDB or the kernels. mpirun ends the other ranks.
  ::_exit(kGroupIsOver);
}

void run(const Options& options, spdlog::logger& log) {
  const Place place = find_place();
  const auto transport = make_mpi_transport();
  const std::size_t threads = thread_count(options, place);
  const kernels::MachineRates rates = kernels::measure_rates(threads);
  log.info("machine rank={} {}", place.rank, to_string(rates));
  const auto backend = kernels::make_cpu_backend(options.isa, threads, agree_on_arithmetic(options, rates, *transport));
  const auto model = load_model(options.model, *backend);
  const Tokenizer tokenizer(model->file);
  const auto chat_template = make_chat_template(model->file.find_string("tokenizer.chat_template"),
                                                options.chat_template, template_marks(tokenizer));
  const auto store = open_store(options, place, *model, log);
  const std::uint32_t window = window_of(options, *model);
  if (window > model->hyperparameters.context_length) {  // it sees there as well as it can
    log.warn("context_length {} trained_for={}", window, model->hyperparameters.context_length);
  }
  RankEngine engine(*model, *backend, *store, *transport, {options.kv_type, options.strategy, window});

  SharedCounters counters;
  protocol::Hello hello =
      make_hello(options, place, agree_on_group(*transport), *model, chat_template.get(), *backend, *store);
  hello.rates = to_words(rates);
  ControlLink* to_coordinator = nullptr;
  const auto reply = [&](protocol::Message message) { to_coordinator->send(std::move(message)); };
  TextService text(tokenizer, chat_template.get(), reply);
  VolumeService volumes(*store, reply, [&](const std::string& what) { log.error("volume_service {}", what); });
  ControlLink link({options.coordinator_host, options.coordinator_port, read_secret(options.secret_file)}, hello,
                   {.on_text = [&](protocol::Message message) { text.handle(message); },
                    .on_volume = [&](protocol::Message message) { volumes.handle(message); },
                    .on_read = [&](protocol::Message message) { volumes.read(message); },
                    .make_pong = [&] { return counters.make_pong(*store); },
                    .on_lost = [&](const std::string& why) { end_group(log, why); }});
  to_coordinator = &link;
  const protocol::Welcome welcome = link.connect();
  log.info("joined rank={} size={} epoch={} numerics={} threads={}", place.rank, place.size, welcome.epoch,
           hello.parameters.numerics_id, hello.threads);

  std::unique_ptr<Scheduler> scheduler;
  if (place.rank == 0) {
    SchedulerConfig config;
    config.rank_count = place.size;
    config.context_length = window;
    config.vocabulary = model->hyperparameters.vocabulary;
    config.step_tokens = options.step_tokens;
    config.holders = engine.volume_holders();
    config.store = welcome.store;
    scheduler = std::make_unique<Scheduler>(config, tokenizer, reply);
  }
  CountingSource source(link, engine, counters);
  try {
    serve_rank(*transport, engine, scheduler.get(), source);
  } catch (const protocol::Error& error) {
    end_group(log, error.message());
  }
  log.info("drained rank={}", place.rank);
}

}  // namespace
}  // namespace rotulus::worker

int main(int argc, char** argv) {
  using namespace rotulus::worker;
  int exit_code = 0;
  const auto options = parse_options(argc, argv, exit_code);
  if (!options) return exit_code;
  if (options->die_with_parent) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() == 1) return kGroupIsOver;  // it died before we asked
  }
  ::signal(SIGTERM, SIG_IGN);  // mpirun passes it on and kills soon after; draining is asked for on the control plane
  ::signal(SIGINT, SIG_IGN);
  ::signal(SIGPIPE, SIG_IGN);
  int provided = 0;
  MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &provided);
  const auto log = spdlog::stderr_logger_st("worker");
  log->flush_on(spdlog::level::info);
  try {
    run(*options, *log);
  } catch (const std::exception& error) {
    log->error("cannot_start reason={}", error.what());
    log->flush();
    MPI_Abort(MPI_COMM_WORLD, kCannotStart);
  }
  MPI_Finalize();
  return 0;
}
