#include "worker/model/hyperparameters.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <string_view>

#include "protocol/error.h"
#include "worker/model/architecture_keys.h"
#include "worker/model/gguf_parser.h"
#include "worker/model/rope_scaling.h"

namespace rotulus::worker {
namespace {

using protocol::Error;
using protocol::ErrorCode;

constexpr std::uint32_t kHeadDimMultiple = 16;  // KvFormat
constexpr std::uint64_t kMaxVocabulary = std::numeric_limits<std::int32_t>::max();

// The keys of the architecture's name space that we read, and two that change nothing: how a converter laid the tensors
// out, and whether a window was stretched by training.
constexpr std::array<std::string_view, 27> kKnownKeys = {
    "block_count",
    "context_length",
    "embedding_length",
    "feed_forward_length",
    "vocab_size",
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.value_length",
    "attention.layer_norm_rms_epsilon",
    "attention.scale",
    "attention.sliding_window",
    "attention.sliding_window_pattern",
    "attn_logit_softcapping",
    "final_logit_softcapping",
    "rope.dimension_count",
    "rope.freq_base",
    "rope.freq_base_swa",
    "rope.scale_linear",
    "rope.scaling.type",
    "rope.scaling.factor",
    "rope.scaling.attn_factor",
    "rope.scaling.original_context_length",
    "rope.scaling.yarn_beta_fast",
    "rope.scaling.yarn_beta_slow",
    "rope.scaling.finetuned",
    "tensor_data_layout",
};

// Keys that ask for something else, unless they say that they do not.
struct Feature {
  std::string_view key;  // what the key begins with
  std::string_view asks_for;
  std::string_view way_out;
};
constexpr std::array kFeatures = {
    Feature{"rope.scal", "a RoPE scaling that we do not know", "use a model with linear, yarn or longrope"},
    Feature{"expert", "a mixture of experts", "use a dense model"},
    Feature{"attention.causal", "attention to what follows", "use a model that generates text"},
    Feature{"pooling_type", "an embedding model", "use a model that generates text"},
    Feature{"vision.", "a model that sees images", "use the file of its language model alone"},
    Feature{"", "something that we do not know", "use a file that was converted from a plain model of this kind"},
};

// True where the value of a key says that its feature is not used.
bool is_off(const ArchitectureKeys& keys, std::string_view key) {
  const std::string name = keys.full_name(key);
  if (key == "attention.causal") return keys.file().find_bool(name) == true;
  const bool is_count = key.starts_with("expert") || key == "pooling_type";
  return is_count && keys.file().find_unsigned(name) == 0u;
}

void refuse_unknown_keys(const ArchitectureKeys& keys) {
  for (const auto& entry : keys.file().metadata()) {
    if (!entry.first.starts_with(keys.prefix())) continue;
    const std::string_view key = entry.first.substr(keys.prefix().size());
    const bool is_known = std::find(kKnownKeys.begin(), kKnownKeys.end(), key) != kKnownKeys.end();
    if (is_known || is_off(keys, key)) continue;
    const auto feature = std::find_if(kFeatures.begin(), kFeatures.end(),
                                      [key](const Feature& feature) { return key.starts_with(feature.key); });
    keys.refuse(key, feature->asks_for, feature->way_out);  // the last feature matches every key
  }
}

const Architecture& require_architecture(const GgufFile& file) {
  const std::string_view name = file.require_string("general.architecture");
  const Architecture* architecture = find_architecture(name);
  if (architecture == nullptr) {
    throw Error(ErrorCode::unsupported, fmt::format("architecture {} is not supported; use a model of one of these: {}",
                                                    quote(name), architecture_names()));
  }
  return *architecture;
}

void refuse_other_files(const GgufFile& file) {
  if (const auto type = file.find_string("general.type"); type && *type != "model") {
    refuse_key("general.type", "a file of type " + quote(*type), "use the file of the model itself");
  }
  if (const auto version = file.find_unsigned("general.quantization_version"); version && *version != 2) {
    refuse_key("general.quantization_version", fmt::format("quantization version {}", *version),
               "quantize the model anew");
  }
}

void read_heads(const ArchitectureKeys& keys, Hyperparameters& into) {
  into.query_heads = keys.count("attention.head_count");
  into.kv_heads = keys.count("attention.head_count_kv", into.query_heads);
  if (into.query_heads % into.kv_heads != 0) {
    throw Error(ErrorCode::malformed_file,
                fmt::format("{} query heads cannot share {} key heads evenly", into.query_heads, into.kv_heads));
  }
  if (!keys.contains("attention.key_length") && into.embedding % into.query_heads != 0) {
    throw Error(ErrorCode::malformed_file,
                fmt::format("an embedding of {} cannot be cut into {} heads evenly", into.embedding, into.query_heads));
  }
  into.head_dim = keys.count("attention.key_length", std::max(1u, into.embedding / into.query_heads));
  if (keys.count("attention.value_length", into.head_dim) != into.head_dim) {
    keys.refuse("attention.value_length", "values of another length than keys", "use a model where they are equal");
  }
  if (into.head_dim % kHeadDimMultiple != 0 || into.head_dim > kernels::kMaxHeadDim) {
    throw Error(ErrorCode::unsupported,
                fmt::format("heads of {} dimensions are not supported; use a model whose head dimension is a multiple "
                            "of {}, up to {}",
                            into.head_dim, kHeadDimMultiple, kernels::kMaxHeadDim));
  }
}

// How many tokens the model knows: by its embeddings, with which the other statements must agree.
std::uint32_t read_vocabulary(const ArchitectureKeys& keys) {
  const GgufFile& file = keys.file();
  const GgufTensor* embeddings = file.find_tensor("token_embd.weight");
  if (embeddings == nullptr || embeddings->shape.size() != 2) {
    throw Error(ErrorCode::malformed_file, "tensor \"token_embd.weight\" is missing, or not a matrix");
  }
  const std::uint64_t vocabulary = embeddings->shape[1];
  const auto expect = [vocabulary](std::string_view key, std::uint64_t count) {
    if (count == vocabulary) return;
    throw Error(ErrorCode::malformed_file, fmt::format("metadata key {} tells of {} tokens, but there are embeddings "
                                                       "of {}",
                                                       quote(key), count, vocabulary));
  };
  if (keys.contains("vocab_size")) expect(keys.full_name("vocab_size"), keys.count("vocab_size"));
  const auto entry = file.metadata().find("tokenizer.ggml.tokens");
  if (entry != file.metadata().end() && std::holds_alternative<GgufArray>(entry->second)) {
    expect(entry->first, std::visit([](const auto& tokens) -> std::uint64_t { return tokens.size(); },
                                    std::get<GgufArray>(entry->second)));
  }
  if (vocabulary > kMaxVocabulary) {
    throw Error(ErrorCode::malformed_file,
                fmt::format("embeddings of {} tokens; {} are possible", vocabulary, kMaxVocabulary));
  }
  return static_cast<std::uint32_t>(vocabulary);
}

// 0: none. A file may say so itself, with a zero.
float read_soft_cap(const ArchitectureKeys& keys, std::string_view key, float absent) {
  if (!keys.contains(key)) return absent;
  const bool is_off = keys.file().require_number(keys.full_name(key)) == 0;
  return is_off ? 0.0f : static_cast<float>(keys.positive(key));
}

float read_softmax_scale(const ArchitectureKeys& keys, const Hyperparameters& model) {
  if (keys.contains("attention.scale")) return static_cast<float>(keys.positive("attention.scale"));
  const bool is_wide = model.layers == model.architecture->layers_of_wide_scale;
  const std::uint32_t width = is_wide ? model.embedding / model.query_heads : model.head_dim;
  return 1.0f / std::sqrt(static_cast<float>(width));
}

// Which layers slide: as the file says layer by layer, or all but each n-th, n from the file or the architecture.
std::vector<bool> read_sliding_pattern(const ArchitectureKeys& keys, const Hyperparameters& model) {
  constexpr std::string_view kPattern = "attention.sliding_window_pattern";
  const auto entry = keys.file().metadata().find(keys.full_name(kPattern));
  if (entry != keys.file().metadata().end() && std::holds_alternative<GgufArray>(entry->second)) {
    const auto* slides = std::get_if<std::vector<bool>>(&std::get<GgufArray>(entry->second));
    if (slides == nullptr) keys.contradict(kPattern, "an array, but not of bools");
    if (slides->size() != model.layers) {
      keys.contradict(kPattern, fmt::format("of {} layers; there are {}", slides->size(), model.layers));
    }
    return *slides;
  }
  const std::uint32_t each = keys.count_or_none(kPattern, *model.architecture->full_layer_each);
  std::vector<bool> slides(model.layers);
  for (std::uint32_t layer = 0; layer < model.layers; ++layer) slides[layer] = each == 0 || (layer + 1) % each != 0;
  return slides;
}

void read_attention(const ArchitectureKeys& keys, Hyperparameters& into) {
  constexpr std::string_view kWindow = "attention.sliding_window";
  const Architecture& architecture = *into.architecture;
  ScaledRope rope = read_rope(keys, architecture.pairing, into.head_dim, into.context_length);
  into.softmax_scale = read_softmax_scale(keys, into);
  into.attention_soft_cap = read_soft_cap(keys, "attn_logit_softcapping", architecture.attention_soft_cap);
  into.logit_soft_cap = read_soft_cap(keys, "final_logit_softcapping", architecture.logit_soft_cap);
  into.rope_scaling = rope.scaling;
  into.full_attention = {std::move(rope.rope), rope.turned_query_scale, 0};
  into.slides.assign(into.layers, false);

  const std::uint32_t window = keys.count_or_none(kWindow, architecture.sliding_window);
  if (window == 0) return;
  if (!architecture.full_layer_each) {
    keys.refuse(kWindow, "attention over a sliding window", "use a model of this kind with full attention");
  }
  into.slides = read_sliding_pattern(keys, into);
  into.sliding_attention = into.full_attention;
  into.sliding_attention.window = window;
  if (architecture.sliding_rope_base == 0 && !keys.contains("rope.freq_base_swa")) return;
  // A base of its own was never stretched.
  into.sliding_attention.rope = {.dims = into.full_attention.rope.dims,
                                 .base = keys.positive("rope.freq_base_swa", architecture.sliding_rope_base),
                                 .pairing = architecture.pairing,
                                 .divisors = {}};
  into.sliding_attention.turned_query_scale = 1;
}

}  // namespace

protocol::KvCost Hyperparameters::kv_cost(std::size_t kv_token_bytes) const {
  const auto sliding = static_cast<std::uint64_t>(std::count(slides.begin(), slides.end(), true));
  return {.token_bytes = layers * kv_token_bytes,
          .sliding_token_bytes = sliding * kv_token_bytes,
          .sliding_window = sliding_attention.window};
}

Hyperparameters read_hyperparameters(const GgufFile& file) {
  Hyperparameters result;
  result.architecture = &require_architecture(file);
  refuse_other_files(file);
  const ArchitectureKeys keys(file, result.architecture->name);
  refuse_unknown_keys(keys);
  result.name = file.find_string("general.name").value_or("");
  result.layers = keys.count("block_count");
  if (result.layers > file.tensors().size()) {
    keys.contradict("block_count", fmt::format("{}; there are {} tensors", result.layers, file.tensors().size()));
  }
  result.embedding = keys.count("embedding_length");
  result.feed_forward = keys.count("feed_forward_length");
  result.context_length = keys.count("context_length");
  result.norm_epsilon = static_cast<float>(keys.positive("attention.layer_norm_rms_epsilon"));
  result.vocabulary = read_vocabulary(keys);
  read_heads(keys, result);
  read_attention(keys, result);
  return result;
}

}  // namespace rotulus::worker
