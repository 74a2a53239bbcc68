// Each architecture is read as its papers say, and each lie that a file can tell about what sets the families apart
// (biases, norms, fused tensors, windows, soft caps, scaled RoPE) is refused with its typed error, by its name.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "protocol/error.h"
#include "tests/support/tiny_model.h"
#include "worker/model/hyperparameters.h"
#include "worker/model/model.h"

namespace rotulus::worker {
namespace {

using protocol::Error;
using protocol::ErrorCode;
using testing::ByteWriter;
using testing::GgufBuilder;
using testing::GgufType;
using testing::tiny_model;
using testing::TinyModel;

Hyperparameters read(const GgufBuilder& builder) {
  const auto bytes = builder.build();
  return read_hyperparameters(GgufFile::parse(bytes));
}

std::vector<float> floats(std::size_t count, float value) {
  return std::vector<float>(count, value);
}

void add_vector(GgufBuilder& file, const std::string& name, const std::vector<float>& values) {
  std::vector<std::byte> bytes(values.size() * sizeof(float));
  std::memcpy(bytes.data(), values.data(), bytes.size());
  file.tensor({name, {values.size()}, 0, bytes});
}

void add_bools(GgufBuilder& file, const std::string& key, const std::vector<std::uint8_t>& values) {
  ByteWriter writer;
  writer.number(GgufType::array).number(GgufType::boolean).number<std::uint64_t>(values.size());
  for (const std::uint8_t value : values) writer.number(value);
  file.entry(key, writer);
}

TEST(Families, ALlamaSlidesInAllLayersWhereItsFileSaysSo) {
  EXPECT_EQ(read(tiny_model()).attention_of(0).window, 0u);
  const Hyperparameters mistral = read(tiny_model().u32("llama.attention.sliding_window", 48));
  EXPECT_EQ(mistral.slides, (std::vector<bool>{true, true}));
  EXPECT_EQ(mistral.attention_of(1).window, 48u);
  EXPECT_EQ(mistral.attention_of(1).rope.base, 10000.0);
}

TEST(Families, Gemma2SlidesInEveryOtherLayerAndCapsScoresAndLogits) {
  const Hyperparameters gemma = read(tiny_model({.architecture = "gemma2", .layers = 5}));
  EXPECT_EQ(gemma.slides, (std::vector<bool>{true, false, true, false, true}));
  EXPECT_EQ(gemma.attention_of(0).window, 4096u);
  EXPECT_EQ(gemma.attention_of(1).window, 0u);
  EXPECT_EQ(gemma.attention_soft_cap, 50.0f);
  EXPECT_EQ(gemma.logit_soft_cap, 30.0f);
  EXPECT_EQ(gemma.softmax_scale, 0.25f);
  const Hyperparameters other = read(tiny_model({.architecture = "gemma2"})
                                         .f32("gemma2.attn_logit_softcapping", 20)
                                         .f32("gemma2.final_logit_softcapping", 0));
  EXPECT_EQ(other.attention_soft_cap, 20.0f);
  EXPECT_EQ(other.logit_soft_cap, 0.0f);
}

TEST(Families, Gemma3AttendsEverythingInEachSixthLayerWithARopeOfItsOwn) {
  const Hyperparameters gemma = read(tiny_model({.architecture = "gemma3", .layers = 8})
                                         .u32("gemma3.attention.sliding_window", 512)
                                         .string("gemma3.rope.scaling.type", "linear")
                                         .f32("gemma3.rope.scaling.factor", 8));
  EXPECT_EQ(gemma.slides, (std::vector<bool>{true, true, true, true, true, false, true, true}));
  EXPECT_EQ(gemma.full_attention.rope.divisors, std::vector<double>(8, 8.0));
  EXPECT_EQ(gemma.sliding_attention.rope.divisors, std::vector<double>());
  EXPECT_EQ(gemma.sliding_attention.rope.base, 10000.0);
  EXPECT_EQ(gemma.attention_soft_cap, 0.0f);
  EXPECT_EQ(gemma.rope_scaling, "linear 8");
}

TEST(Families, TheFileMaySayLayerByLayerWhichSlide) {
  GgufBuilder file = tiny_model({.architecture = "gemma3", .layers = 3}).u32("gemma3.attention.sliding_window", 64);
  add_bools(file, "gemma3.attention.sliding_window_pattern", {0, 1, 0});
  EXPECT_EQ(read(file).slides, (std::vector<bool>{false, true, false}));
}

TEST(Families, TheLargestGemmasDivideScoresByTheirWidth) {
  for (const auto& [name, layers] : {std::pair("gemma2", 46u), std::pair("gemma3", 62u)}) {
    const TinyModel model{.architecture = name, .layers = layers, .embedding = 96, .query_heads = 4, .head_dim = 16};
    const std::string key = std::string(name) + ".attention.key_length";
    EXPECT_EQ(read(tiny_model(model).u32(key, 16)).softmax_scale, 1.0f / std::sqrt(24.0f)) << name;
  }
}

TEST(Families, FusedTensorsAreCutByRows) {
  const testing::TemporaryModel file(tiny_model({.architecture = "phi3"}));
  const auto backend = kernels::make_cpu_backend(kernels::Isa::scalar, 1);
  const auto model = load_model(file.path(), *backend);
  const Layer& layer = model->layers[1];
  const std::byte* fused = model->file.find_tensor("blk.1.attn_qkv.weight")->bytes.data();
  constexpr std::size_t kRowBytes = 64 * sizeof(float);
  EXPECT_EQ(layer.query.source.bytes.data(), fused);
  EXPECT_EQ(layer.query.source.rows, 64u);
  EXPECT_EQ(layer.key.source.bytes.data(), fused + 64 * kRowBytes);
  EXPECT_EQ(layer.key.source.rows, 32u);
  EXPECT_EQ(layer.value.source.bytes.data(), fused + 96 * kRowBytes);
  EXPECT_EQ(layer.up.source.bytes.data(), layer.gate.source.bytes.data() + 96 * kRowBytes);
}

TEST(Families, WhatScalesRopeIsADivisorOfEachPair) {
  GgufBuilder llama3 = tiny_model();
  add_vector(llama3, "rope_freqs.weight", {1, 1, 1, 2, 4, 8, 8, 8});
  EXPECT_EQ(read(llama3).full_attention.rope.divisors, (std::vector<double>{1, 1, 1, 2, 4, 8, 8, 8}));

  const Hyperparameters old = read(tiny_model().f32("llama.rope.scale_linear", 4));
  EXPECT_EQ(old.full_attention.rope.divisors, std::vector<double>(8, 4.0));

  const Hyperparameters yarn = read(tiny_model()
                                        .string("llama.rope.scaling.type", "yarn")
                                        .f32("llama.rope.scaling.factor", 4)
                                        .u32("llama.rope.scaling.original_context_length", 256));
  const std::vector<double>& divisors = yarn.full_attention.rope.divisors;
  EXPECT_EQ(divisors.front(), 1.0);  // fast pairs stay, slow ones are divided by all of it
  EXPECT_EQ(divisors.back(), 4.0);
  EXPECT_TRUE(std::is_sorted(divisors.begin(), divisors.end()));
  const double lengthening = 1 + 0.1 * std::log(4.0);
  EXPECT_EQ(yarn.full_attention.turned_query_scale, static_cast<float>(lengthening * lengthening));
}

TEST(Families, TheWindowChoosesTheFactorsOfLongRope) {
  for (const std::uint32_t trained : {256u, 1024u}) {
    GgufBuilder file = tiny_model({.architecture = "phi3"});
    file.u32("phi3.rope.scaling.original_context_length", trained).f32("phi3.rope.scaling.attn_factor", 1.5f);
    add_vector(file, "rope_factors_long.weight", floats(8, 9));
    add_vector(file, "rope_factors_short.weight", floats(8, 2));
    const Hyperparameters phi = read(file);
    EXPECT_EQ(phi.full_attention.rope.divisors, std::vector<double>(8, trained < 1024 ? 9.0 : 2.0));
    EXPECT_EQ(phi.full_attention.turned_query_scale, 2.25f);
  }
}

struct Refusal {
  std::string name;
  std::string architecture;
  std::function<void(GgufBuilder&)> change;
  ErrorCode code;
  std::vector<std::string> says;
};

void PrintTo(const Refusal& refusal, std::ostream* out) {
  *out << refusal.name;
}

constexpr auto kUnsupported = ErrorCode::unsupported;
constexpr auto kMalformed = ErrorCode::malformed_file;

std::function<void(GgufBuilder&)> without(const std::string& tensor) {
  return [tensor](GgufBuilder& file) {
    std::erase_if(file.tensors, [&](const auto& other) { return other.name == tensor; });
  };
}

std::function<void(GgufBuilder&)> with(const std::string& tensor, std::size_t size, float value = 1) {
  return [=](GgufBuilder& file) {
    without(tensor)(file);
    add_vector(file, tensor, floats(size, value));
  };
}

std::function<void(GgufBuilder&)> with_number(const std::string& key, float value) {
  return [=](GgufBuilder& file) { file.f32(key, value); };
}

std::function<void(GgufBuilder&)> with_count(const std::string& key, std::uint32_t value) {
  return [=](GgufBuilder& file) { file.u32(key, value); };
}

std::function<void(GgufBuilder&)> with_text(const std::string& key, const std::string& value) {
  return [=](GgufBuilder& file) { file.string(key, value); };
}

std::vector<Refusal> lies_about_tensors() {
  return {
      {"Qwen2WithoutABias", "qwen2", without("blk.1.attn_k.bias"), kMalformed, {"\"blk.1.attn_k.bias\"", "missing"}},
      {"Qwen2BiasOfWrongSize", "qwen2", with("blk.0.attn_v.bias", 64), kMalformed, {"[64]", "[32]"}},
      {"Qwen2BiasOfTheOutput", "qwen2", with("blk.0.attn_output.bias", 64), kUnsupported, {"attn_output.bias", "bias"}},
      {"Qwen3WithABias", "qwen3", with("blk.0.attn_q.bias", 64), kUnsupported, {"\"blk.0.attn_q.bias\"", "bias"}},
      {"Qwen3WithoutAHeadNorm", "qwen3", without("blk.0.attn_q_norm.weight"), kMalformed, {"attn_q_norm", "missing"}},
      {"Qwen3HeadNormOfAllHeads", "qwen3", with("blk.0.attn_k_norm.weight", 32), kMalformed, {"[32]", "[16]"}},
      {"Gemma2WithoutAPostNorm", "gemma2", without("blk.1.post_attention_norm.weight"), kMalformed, {"missing"}},
      {"Gemma2WithAHeadNorm", "gemma2", with("blk.0.attn_q_norm.weight", 16), kUnsupported, {"attn_q_norm"}},
      {"Gemma3WithoutAPostNorm", "gemma3", without("blk.0.post_ffw_norm.weight"), kMalformed, {"post_ffw_norm"}},
      {"Gemma3PostNormOfWrongSize", "gemma3", with("blk.0.post_ffw_norm.weight", 96), kMalformed, {"[96]", "[64]"}},
      {"Gemma3ThatSees", "gemma3", with("v.blk.0.ln1.weight", 16), kUnsupported, {"v.blk.0.ln1.weight", "images"}},
      {"Gemma3Projector", "gemma3", with("mm.input_projection.weight", 16), kUnsupported, {"mm.", "images"}},
      {"Phi3WithoutItsFusedProduct",
       "phi3",
       without("blk.0.attn_qkv.weight"),
       kMalformed,
       {"attn_q.weight", "missing"}},
      {"Phi3FusedAndNot", "phi3", with("blk.0.attn_q.weight", 64), kUnsupported, {"\"blk.0.attn_q.weight\""}},
      {"Phi3WithAGateOfItsOwn", "phi3", with("blk.0.ffn_gate.weight", 64), kUnsupported, {"ffn_gate.weight"}},
      {"Phi3FusedOfWrongSize",
       "phi3",
       [](auto& file) {
         for (auto& tensor : file.tensors) {
           if (tensor.name == "blk.1.attn_qkv.weight") tensor.shape = {128, 64};
         }
       },
       kMalformed,
       {"\"blk.1.attn_qkv.weight\"", "[128, 64]", "[64, 128]"}},
      {"LlamaFused",
       "llama",
       [](auto& file) {
         for (auto& tensor : file.tensors) {
           if (tensor.name == "blk.0.attn_q.weight") tensor.name = "blk.0.attn_qkv.weight";
         }
       },
       kMalformed,
       {"\"blk.0.attn_q.weight\"", "missing"}},
      {"LlamaBiasOfWrongSize", "llama", with("blk.1.ffn_up.bias", 64), kMalformed, {"ffn_up.bias", "[64]", "[96]"}},
      {"LlamaBiasOfAnotherType",
       "llama",
       [](auto& file) { file.zeros("blk.1.ffn_up.bias", {96}, 1, 192); },
       kUnsupported,
       {"\"blk.1.ffn_up.bias\"", "F16"}},
      {"LlamaWithAPostNorm", "llama", with("blk.0.post_ffw_norm.weight", 64), kUnsupported, {"post_ffw_norm"}},
  };
}

std::vector<Refusal> lies_about_windows_and_caps() {
  return {
      {"Qwen2Window", "qwen2", with_count("qwen2.attention.sliding_window", 4096), kUnsupported, {"sliding window"}},
      {"Qwen3Window", "qwen3", with_count("qwen3.attention.sliding_window", 4096), kUnsupported, {"sliding window"}},
      {"NegativeWindow",
       "gemma3",
       [](auto& file) { file.number("gemma3.attention.sliding_window", GgufType::i32, -1); },
       kMalformed,
       {"\"gemma3.attention.sliding_window\"", "non-negative"}},
      {"WindowInWords", "gemma3", with_text("gemma3.attention.sliding_window", "512"), kMalformed, {"sliding_window"}},
      {"WindowTooLarge", "phi3", with_count("phi3.attention.sliding_window", 1u << 31), kMalformed, {"2147483648"}},
      {"PatternOfOtherLayers",
       "gemma2",
       [](auto& file) {
         add_bools(file, "gemma2.attention.sliding_window_pattern", {1, 0, 1});
       },
       kMalformed,
       {"sliding_window_pattern", "3 layers", "there are 2"}},
      {"PatternOfNumbers",
       "gemma2",
       [](auto& file) {
         file.entry("gemma2.attention.sliding_window_pattern", ByteWriter()
                                                                   .number(GgufType::array)
                                                                   .number(GgufType::u32)
                                                                   .template number<std::uint64_t>(2)
                                                                   .number(1u)
                                                                   .number(0u));
       },
       kMalformed,
       {"sliding_window_pattern", "bools"}},
      {"WindowPerLayer",
       "gemma2",
       [](auto& file) {
         add_bools(file, "gemma2.attention.sliding_window", {1, 0});
       },
       kUnsupported,
       {"\"gemma2.attention.sliding_window\"", "each layer"}},
      {"NegativeCap", "gemma2", with_number("gemma2.attn_logit_softcapping", -50), kMalformed, {"is -50"}},
      {"CapThatIsNoNumber",
       "gemma2",
       with_number("gemma2.final_logit_softcapping", std::numeric_limits<float>::quiet_NaN()),
       kMalformed,
       {"final_logit_softcapping", "nan"}},
      {"CapInWords", "gemma2", with_text("gemma2.attn_logit_softcapping", "50"), kMalformed, {"not a number"}},
      {"ScaleOfZero", "gemma3", with_number("gemma3.attention.scale", 0), kMalformed, {"attention.scale", "is 0"}},
      {"AttentionToWhatFollows",
       "gemma3",
       [](auto& file) { file.number("gemma3.attention.causal", GgufType::boolean, std::uint8_t{0}); },
       kUnsupported,
       {"attention.causal"}},
      {"EmbeddingModel", "qwen3", with_count("qwen3.pooling_type", 3), kUnsupported, {"embedding model"}},
      {"ImagesAsWell", "gemma3", with_count("gemma3.vision.block_count", 27), kUnsupported, {"sees images"}},
      {"HeadsTooLarge", "qwen3", with_count("qwen3.attention.key_length", 512), kUnsupported, {"512", "up to 256"}},
  };
}

std::vector<Refusal> lies_about_rope() {
  const auto scaled = [](const std::string& type, float factor) {
    return [=](GgufBuilder& file) {
      file.string("qwen2.rope.scaling.type", type).f32("qwen2.rope.scaling.factor", factor);
    };
  };
  const auto long_rope = [](std::size_t long_size, std::size_t short_size) {
    return [=](GgufBuilder& file) {
      file.string("phi3.rope.scaling.type", "longrope");
      if (long_size > 0) add_vector(file, "rope_factors_long.weight", floats(long_size, 2));
      if (short_size > 0) add_vector(file, "rope_factors_short.weight", floats(short_size, 1));
    };
  };
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  return {
      {"DynamicNtk", "qwen2", scaled("dynamic", 4), kUnsupported, {"dynamic NTK", "stored keys"}},
      {"UnknownScaling", "qwen2", scaled("su", 4), kUnsupported, {"\"su\"", "yarn"}},
      {"TypeThatIsANumber", "qwen2", with_count("qwen2.rope.scaling.type", 2), kMalformed, {"not a string"}},
      {"FactorOfZero", "qwen2", scaled("linear", 0), kMalformed, {"scaling.factor", "is 0"}},
      {"NegativeFactor", "qwen2", scaled("linear", -8), kMalformed, {"is -8"}},
      {"InfiniteFactor", "qwen2", scaled("yarn", kInfinity), kMalformed, {"inf"}},
      {"FactorBelowOne", "qwen2", scaled("yarn", 0.5f), kMalformed, {"0.5", "1 or more"}},
      {"YarnWithoutAFactor", "qwen2", with_text("qwen2.rope.scaling.type", "yarn"), kMalformed, {"factor", "missing"}},
      {"YarnOfNoWindow",
       "qwen2",
       [&scaled](auto& file) {
         file.string("qwen2.rope.scaling.type", "yarn").f32("qwen2.rope.scaling.factor", 4);
         file.u32("qwen2.rope.scaling.original_context_length", 0);
       },
       kMalformed,
       {"original_context_length", "is 0"}},
      {"YarnOfNoTurns",
       "qwen2",
       [](auto& file) {
         file.string("qwen2.rope.scaling.type", "yarn").f32("qwen2.rope.scaling.factor", 4);
         file.f32("qwen2.rope.scaling.yarn_beta_fast", 0);
       },
       kMalformed,
       {"yarn_beta_fast", "is 0"}},
      {"YarnOfAnotherKind",
       "qwen2",
       with_number("qwen2.rope.scaling.yarn_log_multiplier", 0.1f),
       kUnsupported,
       {"yarn_log"}},
      {"SectionsOfAnImage",
       "qwen2",
       with_count("qwen2.rope.dimension_sections", 4),
       kUnsupported,
       {"dimension_sections"}},
      {"LengtheningOfZero",
       "phi3",
       with_number("phi3.rope.scaling.attn_factor", 0),
       kMalformed,
       {"attn_factor", "is 0"}},
      {"OldFactorOfZero", "llama", with_number("llama.rope.scale_linear", 0), kMalformed, {"scale_linear", "is 0"}},
      {"BaseOfSlidingLayersOfZero",
       "gemma3",
       [](auto& file) { file.u32("gemma3.attention.sliding_window", 64).f32("gemma3.rope.freq_base_swa", 0); },
       kMalformed,
       {"freq_base_swa", "is 0"}},
      {"LongRopeWithoutFactors", "phi3", long_rope(0, 0), kMalformed, {"rope_factors_long", "missing"}},
      {"LongRopeWithoutShortFactors", "phi3", long_rope(8, 0), kMalformed, {"rope_factors_short", "missing"}},
      {"LongRopeWithoutLongFactors", "phi3", long_rope(0, 8), kMalformed, {"rope_factors_long", "missing"}},
      {"LongRopeOfOtherHeads", "phi3", long_rope(16, 8), kMalformed, {"rope_factors_long", "[16]", "[8]"}},
      {"LongRopeAndOneFactor",
       "phi3",
       [long_rope](auto& file) {
         long_rope(8, 8)(file);
         file.f32("phi3.rope.scaling.factor", 32);
       },
       kUnsupported,
       {"scaling.factor", "LongRoPE"}},
      {"FactorsOfTwoKinds",
       "phi3",
       [long_rope](auto& file) {
         long_rope(8, 8)(file);
         add_vector(file, "rope_freqs.weight", floats(8, 1));
       },
       kMalformed,
       {"rope_freqs", "contradict"}},
      {"FactorsOfOtherHeads", "llama", with("rope_freqs.weight", 16), kMalformed, {"rope_freqs", "[16]", "[8]"}},
      {"FactorsOfZero", "llama", with("rope_freqs.weight", 8, 0), kMalformed, {"rope_freqs", "factor 0"}},
      {"NegativeFactors", "llama", with("rope_freqs.weight", 8, -1), kMalformed, {"rope_freqs", "factor -1"}},
      {"InfiniteFactors", "llama", with("rope_freqs.weight", 8, kInfinity), kMalformed, {"rope_freqs", "inf"}},
      {"FactorsOfAnotherType",
       "llama",
       [](auto& file) { file.zeros("rope_freqs.weight", {8}, 1, 16); },
       kMalformed,
       {"rope_freqs", "F16"}},
  };
}

std::vector<Refusal> other_architectures() {
  std::vector<Refusal> refusals;
  for (const std::string name : {"gemma", "gemma3n", "qwen2moe", "qwen3moe", "phi2", "mamba", "bert"}) {
    const auto rename = [name](GgufBuilder& file) {
      file.entries.erase(file.entries.begin());
      file.string("general.architecture", name);
    };
    refusals.push_back({"Architecture" + name,
                        "llama",
                        rename,
                        kUnsupported,
                        {"\"" + name + "\"", "llama, qwen2, qwen3, gemma2, gemma3, phi3"}});
  }
  return refusals;
}

class RefusedFamily : public ::testing::TestWithParam<Refusal> {};

TEST_P(RefusedFamily, IsRefusedByName) {
  GgufBuilder builder = tiny_model({.architecture = GetParam().architecture});
  GetParam().change(builder);
  const testing::TemporaryModel file(builder);
  const auto backend = kernels::make_cpu_backend(kernels::Isa::scalar, 1);
  try {
    load_model(file.path(), *backend);
    FAIL() << "loaded";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), GetParam().code) << error.message();
    for (const std::string& part : GetParam().says) {
      EXPECT_NE(error.message().find(part), std::string::npos) << part << " is not in: " << error.message();
    }
  }
}

std::string name_of(const ::testing::TestParamInfo<Refusal>& info) {
  return info.param.name;
}
INSTANTIATE_TEST_SUITE_P(Tensors, RefusedFamily, ::testing::ValuesIn(lies_about_tensors()), name_of);
INSTANTIATE_TEST_SUITE_P(Windows, RefusedFamily, ::testing::ValuesIn(lies_about_windows_and_caps()), name_of);
INSTANTIATE_TEST_SUITE_P(Rope, RefusedFamily, ::testing::ValuesIn(lies_about_rope()), name_of);
INSTANTIATE_TEST_SUITE_P(Others, RefusedFamily, ::testing::ValuesIn(other_architectures()), name_of);

}  // namespace
}  // namespace rotulus::worker
