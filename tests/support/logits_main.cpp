// rotulus-logits: the logits of all positions of a prompt, and the keys and values as they were stored, for oracles.
//
//   rotulus-logits -m MODEL --ids IDS.json [--kv-type f16] [--isa automatic]
//                  [--arithmetic f32] [--last] --logits OUT.f32 [--kv OUT.bin]
//
// OUT.f32: float32 [positions][vocabulary]; with --last only those of the last position of each 256 tokens. OUT.bin:
// float32 [layers][2][positions][kv_heads * head_dim], keys (rotated, as stored) then values. The prompt runs as a
// document does: prefill in steps, through the store.
#include <unistd.h>
#include <CLI/CLI.hpp>
#include <boost/json.hpp>
#include <cmath>
#include <cstring>
#include <fstream>
#include <iostream>
#include <iterator>
#include <thread>

#include "kernels/cpu/kv_codec.h"
#include "protocol/error.h"
#include "worker/parallel/transport.h"
#include "worker/rank_engine.h"

namespace rotulus {
namespace {

using kernels::KvFormat;
using kernels::KvType;
using protocol::kBlockTokens;

constexpr std::size_t kStepRows = 256;

struct Arguments {
  std::string model, ids, logits, kv, kv_type = "f16", isa = "automatic", arithmetic = "f32", store;
  bool last = false;
};

std::vector<protocol::TokenId> read_ids(const std::string& path) {
  std::ifstream file(path);
  const std::string text((std::istreambuf_iterator<char>(file)), {});
  std::vector<protocol::TokenId> ids;
  const boost::json::value parsed = boost::json::parse(text);
  for (const auto& value : parsed.as_array()) ids.push_back(value.to_number<protocol::TokenId>());
  return ids;
}

// The rows of one layer of the store, keys or values.
void write_rows(std::ofstream& out, const KvFormat& format, const memory_store::PinnedBlocks& blocks,
                std::size_t positions, bool is_key) {
  std::vector<float> row(std::size_t{format.kv_heads} * format.head_dim);
  for (std::size_t position = 0; position < positions; ++position) {
    const std::byte* block = blocks[position / kBlockTokens];
    const auto token = static_cast<std::uint32_t>(position % kBlockTokens);
    for (std::uint32_t head = 0; head < format.kv_heads; ++head) {
      float* const into = row.data() + std::size_t{head} * format.head_dim;
      (is_key ? kernels::cpu::load_key : kernels::cpu::load_value)(format, block, head, token, into);
    }
    out.write(reinterpret_cast<const char*>(row.data()), static_cast<std::streamsize>(row.size() * sizeof(float)));
  }
}

void dump_kv(const std::string& path, const worker::Model& model, const KvFormat& format, memory_store::KvStore& store,
             const std::vector<worker::ChunkLocation>& chunks, std::size_t positions) {
  std::ofstream out(path, std::ios::binary);
  for (std::uint32_t layer = 0; layer < model.hyperparameters.layers; ++layer) {
    std::vector<memory_store::BlockAddress> addresses;
    for (std::uint32_t block = 0; block < protocol::block_count(positions); ++block) {
      addresses.push_back(worker::block_address(chunks, layer, block));
    }
    const memory_store::PinnedBlocks blocks = store.pin(addresses);
    for (const bool is_key : {true, false}) write_rows(out, format, blocks, positions, is_key);
  }
}

int run(const Arguments& arguments) {
  kernels::Isa isa{};
  if (!kernels::parse_isa(arguments.isa, isa)) throw std::invalid_argument("unknown --isa " + arguments.isa);
  const auto backend = kernels::make_cpu_backend(isa, std::thread::hardware_concurrency(),
                                                 arguments.arithmetic == "int8"   ? kernels::Arithmetic::int8
                                                 : arguments.arithmetic == "bf16" ? kernels::Arithmetic::bf16
                                                                                  : kernels::Arithmetic::f32);
  const auto model = worker::load_model(arguments.model, *backend);
  const std::vector<protocol::TokenId> ids = read_ids(arguments.ids);
  const auto& h = model->hyperparameters;
  KvFormat format{KvType::f16, h.kv_heads, h.head_dim};
  kernels::parse_kv_type(arguments.kv_type, format.type);
  const auto path = arguments.store.empty()
                        ? std::filesystem::temp_directory_path() / fmt::format("rotulus-logits-{}", ::getpid())
                        : std::filesystem::path(arguments.store);
  {
    memory_store::KvStoreConfig config;
    config.volume_paths = {path};
    config.layers = h.layers;
    config.format = format;
    config.host_budget_bytes = (protocol::block_count(ids.size()) + 4) * h.layers * format.block_bytes();
    const auto store = memory_store::KvStore::open(config);
    const auto transports = worker::make_local_transports(1);
    worker::RankEngine engine(*model, *backend, *store, *transports[0], {format.type, {}});

    std::ofstream out(arguments.logits, std::ios::binary);
    engine.on_logits = [&](const worker::StepItem&, std::size_t, std::span<const float> logits) {
      out.write(reinterpret_cast<const char*>(logits.data()), static_cast<std::streamsize>(logits.size_bytes()));
    };
    const protocol::ContextId context{1};
    std::vector<worker::ChunkLocation> chunks(protocol::chunk_count(ids.size()));
    for (std::size_t i = 0; i < chunks.size(); ++i) {
      chunks[i] = {protocol::ObjectId{i + 1}, {{0, store->volumes().front().volume}}};
    }
    worker::StepPlan opening;
    opening.contexts = {{.context = context, .token_count = ids.size(), .chunks = chunks}};
    engine.execute(opening);
    for (std::size_t first = 0; first < ids.size(); first += kStepRows) {
      worker::StepPlan plan;
      worker::StepItem item;
      item.context = context;
      item.first_position = first;
      item.tokens.assign(ids.begin() + static_cast<std::ptrdiff_t>(first),
                         ids.begin() + static_cast<std::ptrdiff_t>(std::min(ids.size(), first + kStepRows)));
      item.logits = arguments.last ? worker::LogitRows::last : worker::LogitRows::all;
      plan.items = {item};
      const worker::StepReport report = engine.execute(plan);
      if (!report.failures.empty()) throw std::runtime_error(report.failures.front().message);
    }
    if (!arguments.kv.empty()) dump_kv(arguments.kv, *model, format, *store, chunks, ids.size());
  }
  if (arguments.store.empty()) std::filesystem::remove_all(path);
  return 0;
}

}  // namespace
}  // namespace rotulus

int main(int argc, char** argv) {
  rotulus::Arguments arguments;
  CLI::App app{"The logits of all positions of a prompt, for oracles"};
  app.add_option("-m,--model", arguments.model, "GGUF file")->required()->check(CLI::ExistingFile);
  app.add_option("--ids", arguments.ids, "JSON array of token ids")->required()->check(CLI::ExistingFile);
  app.add_option("--logits", arguments.logits, "Output, float32 [positions][vocabulary]")->required();
  app.add_option("--kv", arguments.kv,
                 "Output, float32 [layers][2][positions][kv_heads * head_dim]; not of sliding layers");
  app.add_option("--kv-type", arguments.kv_type, "how keys and values are stored")
      ->check(CLI::IsMember({"f16", "f32", "bf16", "int8", "int4"}));
  app.add_flag("--last", arguments.last, "Only the last position of each 256 tokens");
  app.add_option("--isa", arguments.isa, "automatic, scalar, avx2, avx512");
  app.add_option("--arithmetic", arguments.arithmetic, "of dense products")
      ->check(CLI::IsMember({"f32", "bf16", "int8"}));
  CLI11_PARSE(app, argc, argv);
  try {
    return rotulus::run(arguments);
  } catch (const std::exception& error) {
    std::cerr << "rotulus-logits: " << error.what() << "\n";
    return 1;
  }
}
