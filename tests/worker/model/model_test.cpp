// What load_model packs is what the file holds: a unit vector through a weight gives back one column of the file. What
// we do not compute is refused by its name, before anything is packed.
#include "worker/model/model.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "protocol/error.h"
#include "tests/support/model_file.h"
#include "tests/support/tiny_model.h"

namespace rotulus::worker {
namespace {

using protocol::Error;
using protocol::ErrorCode;
using testing::GgufBuilder;
using testing::GgufType;
using testing::TemporaryModel;
using testing::tiny_model;
using testing::TinyModel;

std::unique_ptr<Model> load(const GgufBuilder& builder) {
  const TemporaryModel file(builder);
  const auto backend = kernels::make_cpu_backend(kernels::Isa::scalar, 1);
  return load_model(file.path(), *backend);  // the mapping outlives the name
}

std::vector<float> floats_of(const Model& model, std::string_view name) {
  const auto bytes = model.file.find_tensor(name)->bytes;
  std::vector<float> values(bytes.size() / sizeof(float));
  std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

void expect_packed(kernels::Backend& backend, const Model& model, const kernels::PackedWeight& weight,
                   std::string_view name) {
  const std::vector<float> stored = floats_of(model, name);  // [rows, columns]
  ASSERT_EQ(weight.rows() * weight.columns(), stored.size()) << name;
  const auto stream = backend.make_stream();
  for (std::size_t column = 0; column < weight.columns(); ++column) {
    std::vector<float> x(weight.columns(), 0.0f);
    std::vector<float> y(weight.rows());
    x[column] = 1.0f;
    backend.matmul(*stream, kernels::Role::prefill, weight, {x.data(), 1, x.size(), x.size()},
                   {y.data(), 1, y.size(), y.size()});
    stream->wait();
    for (std::size_t row = 0; row < y.size(); ++row) {
      ASSERT_EQ(y[row], stored[row * weight.columns() + column]) << name << " [" << row << ", " << column << "]";
    }
  }
}

TEST(Model, ReadsTheNumbersOfTheFile) {
  const auto model = load(tiny_model());
  const Hyperparameters& numbers = model->hyperparameters;
  EXPECT_EQ(numbers.architecture->name, "llama");
  EXPECT_EQ(numbers.name, "tiny");
  EXPECT_EQ(numbers.layers, 2u);
  EXPECT_EQ(numbers.embedding, 64u);
  EXPECT_EQ(numbers.feed_forward, 96u);
  EXPECT_EQ(numbers.query_heads, 4u);
  EXPECT_EQ(numbers.kv_heads, 2u);
  EXPECT_EQ(numbers.head_dim, 16u);
  EXPECT_EQ(numbers.vocabulary, 40u);
  EXPECT_EQ(numbers.context_length, 1024u);
  EXPECT_EQ(numbers.norm_epsilon, 1e-5f);
  EXPECT_EQ(numbers.full_attention.rope.dims, 16u);
  EXPECT_EQ(numbers.full_attention.rope.base, 10000.0);
  EXPECT_EQ(numbers.full_attention.rope.pairing, kernels::RopePairing::neighbours);
  EXPECT_EQ(numbers.full_attention.rope.divisors, std::vector<double>());
  EXPECT_EQ(numbers.full_attention.turned_query_scale, 1.0f);
  EXPECT_EQ(numbers.softmax_scale, 0.25f);
  EXPECT_EQ(numbers.attention_soft_cap, 0.0f);
  EXPECT_EQ(numbers.logit_soft_cap, 0.0f);
  EXPECT_EQ(numbers.slides, (std::vector<bool>{false, false}));
}

TEST(Model, PacksEveryWeightInItsPlace) {
  const TemporaryModel file(tiny_model());
  const auto backend = kernels::make_cpu_backend(kernels::Isa::scalar, 1);
  const auto model = load_model(file.path(), *backend);
  for (std::size_t i = 0; i < model->layers.size(); ++i) {
    const Layer& layer = model->layers[i];
    const std::string prefix = "blk." + std::to_string(i) + ".";
    EXPECT_EQ(layer.attention_norm, floats_of(*model, prefix + "attn_norm.weight"));
    EXPECT_EQ(layer.feed_forward_norm, floats_of(*model, prefix + "ffn_norm.weight"));
    expect_packed(*backend, *model, *layer.query.weight, prefix + "attn_q.weight");
    expect_packed(*backend, *model, *layer.key.weight, prefix + "attn_k.weight");
    expect_packed(*backend, *model, *layer.value.weight, prefix + "attn_v.weight");
    expect_packed(*backend, *model, *layer.output.weight, prefix + "attn_output.weight");
    expect_packed(*backend, *model, *layer.gate.weight, prefix + "ffn_gate.weight");
    expect_packed(*backend, *model, *layer.up.weight, prefix + "ffn_up.weight");
    expect_packed(*backend, *model, *layer.down.weight, prefix + "ffn_down.weight");
  }
  EXPECT_EQ(model->output_norm, floats_of(*model, "output_norm.weight"));
  EXPECT_EQ(model->embeddings.bytes.data(), model->file.find_tensor("token_embd.weight")->bytes.data());
  expect_packed(*backend, *model, *model->head.weight, "output.weight");
}

TEST(Model, TakesTheEmbeddingsForAHeadThatIsAbsent) {
  const TemporaryModel file(tiny_model({.is_tied = true}));
  const auto backend = kernels::make_cpu_backend(kernels::Isa::scalar, 1);
  const auto model = load_model(file.path(), *backend);
  expect_packed(*backend, *model, *model->head.weight, "token_embd.weight");
}

TEST(Model, LoadsEveryWeightTypeAndHeadGrouping) {
  for (const std::uint32_t type : {0u, 1u, 30u, 8u, 2u, 3u, 6u, 7u, 20u, 39u}) {
    const auto model = load(tiny_model({.type = GgmlType{type}}));
    EXPECT_EQ(model->embeddings.type, find_weight_type(GgmlType{type}));
  }
  for (const std::uint32_t type : {10u, 11u, 12u, 13u, 14u, 23u}) {  // blocks of 256
    const auto model =
        load(tiny_model({.embedding = 256, .feed_forward = 512, .query_heads = 16, .type = GgmlType{type}}));
    EXPECT_EQ(model->embeddings.type, find_weight_type(GgmlType{type}));
  }
  for (const auto& [query_heads, kv_heads] : {std::pair(4u, 4u), std::pair(6u, 2u), std::pair(16u, 1u)}) {
    const auto model =
        load(tiny_model({.query_heads = query_heads, .kv_heads = kv_heads}).u32("llama.attention.key_length", 16));
    EXPECT_EQ(model->layers[0].query.weight->rows(), 16 * query_heads);
    EXPECT_EQ(model->layers[0].key.weight->rows(), 16 * kv_heads);
  }
}

void set_u32(GgufBuilder& builder, const std::string& key, std::uint32_t value) {
  std::erase_if(builder.entries, [&key](const auto& entry) { return entry.first == key; });
  builder.u32(key, value);
}

GgufBuilder::Tensor& tensor(GgufBuilder& builder, const std::string& name) {
  return *std::find_if(builder.tensors.begin(), builder.tensors.end(),
                       [&name](const auto& tensor) { return tensor.name == name; });
}

// Each change of one weight byte, one number or one token must be seen, and only by the fingerprint it belongs to.
TEST(Model, FingerprintsTellFilesApart) {
  const auto with_tokens = [](GgufBuilder builder, const std::string& first) {
    std::vector<std::string> tokens(40, "token");
    tokens[0] = first;
    return builder.strings("tokenizer.ggml.tokens", tokens);
  };
  const auto original = load(with_tokens(tiny_model(), "a"));
  EXPECT_EQ(original->fingerprint.size(), 64u);
  EXPECT_EQ(original->fingerprint, load(with_tokens(tiny_model(), "a"))->fingerprint);

  for (const auto& tensor_of_file : tiny_model().tensors) {
    GgufBuilder builder = with_tokens(tiny_model(), "a");
    tensor(builder, tensor_of_file.name).data.back() ^= std::byte{1};
    const auto changed = load(builder);
    EXPECT_NE(changed->fingerprint, original->fingerprint) << tensor_of_file.name;
    EXPECT_EQ(changed->tokenizer_fingerprint, original->tokenizer_fingerprint);
  }
  for (const char* key : {"llama.context_length", "llama.rope.dimension_count"}) {
    GgufBuilder builder = with_tokens(tiny_model(), "a");
    set_u32(builder, key, 8);
    EXPECT_NE(load(builder)->fingerprint, original->fingerprint) << key;
  }
  const auto other_tokens = load(with_tokens(tiny_model(), "b"));
  EXPECT_EQ(other_tokens->fingerprint, original->fingerprint);
  EXPECT_NE(other_tokens->tokenizer_fingerprint, original->tokenizer_fingerprint);
}

// The order of the tensors and a new name are no other model.
TEST(Model, FingerprintsIgnoreWhatChangesNothing) {
  GgufBuilder builder = tiny_model();
  std::reverse(builder.tensors.begin(), builder.tensors.end());
  builder.string("general.description", "the same model");
  EXPECT_EQ(load(builder)->fingerprint, load(tiny_model())->fingerprint);
}

struct Refusal {
  std::string name;
  std::function<void(GgufBuilder&)> change;
  ErrorCode code;
  std::vector<std::string> says;
};

void PrintTo(const Refusal& refusal, std::ostream* out) {
  *out << refusal.name;
}

void rename_architecture(GgufBuilder& file, const std::string& name) {
  file.entries.erase(file.entries.begin());
  file.string("general.architecture", name);
}

void remove_tensor(GgufBuilder& file, const std::string& name) {
  std::erase_if(file.tensors, [&name](const auto& tensor) { return tensor.name == name; });
}

constexpr auto kUnsupported = ErrorCode::unsupported;
constexpr auto kMalformed = ErrorCode::malformed_file;

std::vector<Refusal> unsupported_features() {
  return {
      {"Architecture",
       [](auto& file) { rename_architecture(file, "mamba"); },
       kUnsupported,
       {"\"mamba\"", "llama, qwen2"}},
      {"RopeScaling",
       [](auto& file) { file.string("llama.rope.scaling.type", "dynamic"); },
       kUnsupported,
       {"\"llama.rope.scaling.type\"", "dynamic NTK", "use"}},
      {"UnknownRopeScaling",
       [](auto& file) { file.string("llama.rope.scaling.type", "ntk-by-parts"); },
       kUnsupported,
       {"\"llama.rope.scaling.type\"", "ntk-by-parts", "use"}},
      {"RopeScalingOfAnotherKind",
       [](auto& file) { file.f32("llama.rope.scaling.alpha", 1000); },
       kUnsupported,
       {"\"llama.rope.scaling.alpha\"", "RoPE"}},
      {"Experts",
       [](auto& file) { file.u32("llama.expert_count", 8); },
       kUnsupported,
       {"\"llama.expert_count\"", "experts"}},
      {"ExpertTensor",
       [](auto& file) {
         file.zeros("blk.0.ffn_gate_exps.weight", {64, 96, 2}, 0, 64 * 96 * 8);
       },
       kUnsupported,
       {"\"blk.0.ffn_gate_exps.weight\"", "experts"}},
      {"UnknownKey", [](auto& file) { file.f32("llama.logit_scale", 2); }, kUnsupported, {"\"llama.logit_scale\""}},
      {"Bias",
       [](auto& file) { file.zeros("blk.1.attn_norm.bias", {64}, 0, 256); },
       kUnsupported,
       {"\"blk.1.attn_norm.bias\"", "bias"}},
      {"UnknownTensor",
       [](auto& file) { file.zeros("blk.1.attn_q_norm.weight", {16}, 0, 64); },
       kUnsupported,
       {"\"blk.1.attn_q_norm.weight\""}},
      {"LayerBeyondTheLast",
       [](auto& file) { file.zeros("blk.2.attn_norm.weight", {64}, 0, 256); },
       kUnsupported,
       {"\"blk.2.attn_norm.weight\""}},
      {"LayerInAnotherSpelling",
       [](auto& file) { file.zeros("blk.01.attn_norm.weight", {64}, 0, 256); },
       kUnsupported,
       {"\"blk.01.attn_norm.weight\""}},
      {"WeightType",
       [](auto& file) {
         auto& weight = tensor(file, "blk.1.ffn_up.weight");
         weight.type = 40;
         weight.data.resize(96 * 64 / 64 * 36);
       },
       kUnsupported,
       {"\"blk.1.ffn_up.weight\"", "NVFP4", "quantize"}},
      {"NormType",
       [](auto& file) {
         auto& norm = tensor(file, "output_norm.weight");
         norm.type = 1;
         norm.data.resize(128);
       },
       kUnsupported,
       {"\"output_norm.weight\"", "F16"}},
      {"OddHeadDimension",
       [](auto& file) {
         set_u32(file, "llama.attention.key_length", 24);
         set_u32(file, "llama.rope.dimension_count", 24);
       },
       kUnsupported,
       {"24", "multiple of 16"}},
      {"ValuesOfAnotherLength",
       [](auto& file) { file.u32("llama.attention.value_length", 32); },
       kUnsupported,
       {"\"llama.attention.value_length\""}},
      {"HeadsPerLayer",
       [](auto& file) {
         std::erase_if(file.entries, [](const auto& entry) { return entry.first == "llama.attention.head_count"; });
         file.entry("llama.attention.head_count", testing::ByteWriter()
                                                      .number(GgufType::array)
                                                      .number(GgufType::u32)
                                                      .template number<std::uint64_t>(2)
                                                      .number(4u)
                                                      .number(4u));
       },
       kUnsupported,
       {"\"llama.attention.head_count\"", "layer"}},
      {"PartOfAModel",
       [](auto& file) { file.number("split.count", GgufType::u16, std::uint16_t{3}); },
       kUnsupported,
       {"\"split.count\"", "3 files", "-00001-of-00003.gguf"}},
      {"Adapter",
       [](auto& file) { file.string("general.type", "adapter"); },
       kUnsupported,
       {"\"general.type\"", "adapter"}},
      {"OldQuantization",
       [](auto& file) { file.u32("general.quantization_version", 1); },
       kUnsupported,
       {"\"general.quantization_version\"", "quantize"}},
  };
}

std::vector<Refusal> contradictions() {
  return {
      {"MissingTensor",
       [](auto& file) { remove_tensor(file, "blk.1.ffn_down.weight"); },
       kMalformed,
       {"\"blk.1.ffn_down.weight\"", "missing"}},
      {"MissingEmbeddings",
       [](auto& file) { remove_tensor(file, "token_embd.weight"); },
       kMalformed,
       {"\"token_embd.weight\"", "missing"}},
      {"MissingKey",
       [](auto& file) {
         std::erase_if(file.entries, [](const auto& entry) { return entry.first == "llama.block_count"; });
       },
       kMalformed,
       {"\"llama.block_count\"", "missing"}},
      {"WrongShape",
       [](auto& file) {
         auto& weight = tensor(file, "blk.0.attn_k.weight");
         weight.shape = {32, 64};
       },
       kMalformed,
       {"\"blk.0.attn_k.weight\"", "[32, 64]", "[64, 32]"}},
      {"TransposedFeedForward",
       [](auto& file) { set_u32(file, "llama.feed_forward_length", 64); },
       kMalformed,
       {"\"blk.0.ffn_gate.weight\"", "[64, 96]", "[64, 64]"}},
      {"MoreLayersThanTensors",
       [](auto& file) { set_u32(file, "llama.block_count", 2147483647); },
       kMalformed,
       {"\"llama.block_count\"", "21 tensors"}},
      {"NoLayer",
       [](auto& file) { set_u32(file, "llama.block_count", 0); },
       kMalformed,
       {"\"llama.block_count\"", "is 0"}},
      {"WindowTooLarge",
       [](auto& file) { set_u32(file, "llama.context_length", 1u << 31); },
       kMalformed,
       {"\"llama.context_length\"", "2147483648"}},
      {"UnevenHeadGroups",
       [](auto& file) { set_u32(file, "llama.attention.head_count_kv", 3); },
       kMalformed,
       {"4 query heads", "3 key heads"}},
      {"UnevenHeads",
       [](auto& file) { set_u32(file, "llama.attention.head_count", 6); },
       kMalformed,
       {"64", "6 heads"}},
      {"OddRope",
       [](auto& file) { set_u32(file, "llama.rope.dimension_count", 7); },
       kMalformed,
       {"\"llama.rope.dimension_count\"", "is 7"}},
      {"RopeBeyondTheHead",
       [](auto& file) { set_u32(file, "llama.rope.dimension_count", 32); },
       kMalformed,
       {"\"llama.rope.dimension_count\"", "is 32"}},
      {"RopeOfNoBase",
       [](auto& file) {
         std::erase_if(file.entries, [](const auto& entry) { return entry.first == "llama.rope.freq_base"; });
         file.f32("llama.rope.freq_base", 0);
       },
       kMalformed,
       {"\"llama.rope.freq_base\"", "is 0"}},
      {"OtherVocabulary",
       [](auto& file) { file.u32("llama.vocab_size", 41); },
       kMalformed,
       {"\"llama.vocab_size\"", "41", "40"}},
      {"OtherTokens",
       [](auto& file) {
         file.strings("tokenizer.ggml.tokens", {"a", "b"});
       },
       kMalformed,
       {"\"tokenizer.ggml.tokens\"", "2 tokens", "40"}},
  };
}

class RefusedModel : public ::testing::TestWithParam<Refusal> {};

TEST_P(RefusedModel, IsRefusedByName) {
  GgufBuilder builder = tiny_model();
  GetParam().change(builder);
  try {
    load(builder);
    FAIL() << "loaded";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), GetParam().code) << error.message();
    EXPECT_NE(error.message().find(".gguf: "), std::string::npos) << error.message();
    for (const std::string& part : GetParam().says) {
      EXPECT_NE(error.message().find(part), std::string::npos) << part << " is not in: " << error.message();
    }
  }
}

std::string name_of(const ::testing::TestParamInfo<Refusal>& info) {
  return info.param.name;
}
INSTANTIATE_TEST_SUITE_P(Unsupported, RefusedModel, ::testing::ValuesIn(unsupported_features()), name_of);
INSTANTIATE_TEST_SUITE_P(Contradiction, RefusedModel, ::testing::ValuesIn(contradictions()), name_of);

// A key that says that a feature is off is no reason to refuse.
TEST(Model, LoadsAFileThatSaysWhatItDoesNotUse) {
  GgufBuilder builder = tiny_model();
  builder.string("llama.rope.scaling.type", "none").u32("llama.expert_count", 0);
  builder.u32("llama.attention.sliding_window", 0);
  EXPECT_EQ(load(builder)->hyperparameters.layers, 2u);
}

TEST(Model, LoadsTheModelOfTheTests) {
  const auto backend = kernels::make_cpu_backend(kernels::Isa::scalar, 1);
  const auto model = load_model(testing::model_file(), *backend);
  const Hyperparameters& numbers = model->hyperparameters;
  EXPECT_EQ(model->layers.size(), numbers.layers);
  EXPECT_EQ(model->head.weight->rows(), numbers.vocabulary);
  EXPECT_EQ(model->head.weight->columns(), numbers.embedding);
  EXPECT_EQ(model->fingerprint.size(), 64u);
  EXPECT_NE(model->fingerprint, model->tokenizer_fingerprint);
}

}  // namespace
}  // namespace rotulus::worker
