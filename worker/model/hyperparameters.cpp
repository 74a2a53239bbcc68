#include "worker/model/hyperparameters.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <optional>
#include <string_view>

#include "protocol/error.h"
#include "worker/model/gguf_parser.h"

namespace rotulus::worker {
namespace {

using protocol::Error;
using protocol::ErrorCode;

constexpr std::string_view kPrefix = "llama.";
constexpr std::uint32_t kHeadDimMultiple = 16;  // KvFormat
constexpr std::uint64_t kMaxCount = std::numeric_limits<std::int32_t>::max();

// The keys of the name space "llama." that we read.
constexpr std::array<std::string_view, 12> kReadKeys = {
    "llama.block_count",          "llama.context_length",         "llama.embedding_length",
    "llama.feed_forward_length",  "llama.attention.head_count",   "llama.attention.head_count_kv",
    "llama.attention.key_length", "llama.attention.value_length", "llama.attention.layer_norm_rms_epsilon",
    "llama.rope.dimension_count", "llama.rope.freq_base",         "llama.vocab_size",
};

// Keys that ask for something else, unless they say that they do not.
struct Feature {
  std::string_view key;  // what the key begins with
  std::string_view asks_for;
  std::string_view way_out;
};
constexpr std::array kFeatures = {
    Feature{"llama.rope.scal", "a scaled RoPE", "use a model whose window is trained with plain RoPE"},
    Feature{"llama.expert", "a mixture of experts", "use a dense model"},
    Feature{"llama.attention.sliding_window", "attention over a sliding window", "use a model with full attention"},
    Feature{"llama.", "something that we do not know", "use a file that was converted from a plain Llama model"},
};

[[noreturn]] void refuse(std::string_view key, std::string_view what, std::string_view way_out) {
  throw Error(ErrorCode::unsupported,
              fmt::format("metadata key {} asks for {}, which is not supported; {}", quote(key), what, way_out));
}

// True where the value of a feature's key says that the feature is not used.
bool is_off(const GgufFile& file, std::string_view key) {
  if (key.starts_with("llama.rope.scal")) return file.find_string("llama.rope.scaling.type") == "none";
  const bool is_count = key.starts_with("llama.expert") || key == "llama.attention.sliding_window";
  return is_count && file.find_unsigned(key) == 0u;
}

void refuse_unknown_keys(const GgufFile& file) {
  for (const auto& entry : file.metadata()) {
    const std::string_view key = entry.first;
    const bool is_read = std::find(kReadKeys.begin(), kReadKeys.end(), key) != kReadKeys.end();
    if (!key.starts_with(kPrefix) || is_read || is_off(file, key)) continue;
    const auto feature = std::find_if(kFeatures.begin(), kFeatures.end(),
                                      [key](const Feature& feature) { return key.starts_with(feature.key); });
    refuse(key, feature->asks_for, feature->way_out);  // the last feature matches every key
  }
}

void refuse_other_files(const GgufFile& file) {
  const std::string_view architecture = file.require_string("general.architecture");
  if (architecture != "llama") {
    throw Error(
        ErrorCode::unsupported,
        fmt::format("architecture {} is not supported; use a model of architecture \"llama\"", quote(architecture)));
  }
  if (const auto type = file.find_string("general.type"); type && *type != "model") {
    refuse("general.type", "a file of type " + quote(*type), "use the file of the model itself");
  }
  if (const auto parts = file.find_unsigned("split.count"); parts && *parts > 1) {
    refuse("split.count", fmt::format("a model in {} files", *parts), "merge them into one GGUF file");
  }
  if (const auto version = file.find_unsigned("general.quantization_version"); version && *version != 2) {
    refuse("general.quantization_version", fmt::format("quantization version {}", *version), "quantize the model anew");
  }
}

// A count of something that must be there.
std::uint32_t read_count(const GgufFile& file, std::string_view key, std::optional<std::uint32_t> absent = {}) {
  const auto entry = file.metadata().find(key);
  if (entry == file.metadata().end() && absent) return *absent;
  if (entry != file.metadata().end() && std::holds_alternative<GgufArray>(entry->second)) {
    refuse(key, "another number in each layer", "use a model whose layers are alike");
  }
  const std::uint64_t value = file.require_unsigned(key);
  if (value < 1 || value > kMaxCount) {
    throw Error(ErrorCode::malformed_file,
                fmt::format("metadata key {} is {}; 1 to {} are possible", quote(key), value, kMaxCount));
  }
  return static_cast<std::uint32_t>(value);
}

double read_positive(const GgufFile& file, std::string_view key, std::optional<double> absent = {}) {
  const double value = absent && !file.metadata().contains(key) ? *absent : file.require_number(key);
  if (!std::isfinite(value) || value <= 0) {
    throw Error(ErrorCode::malformed_file,
                fmt::format("metadata key {} is {}; a positive number is needed", quote(key), value));
  }
  return value;
}

void read_heads(const GgufFile& file, Hyperparameters& into) {
  into.query_heads = read_count(file, "llama.attention.head_count");
  into.kv_heads = read_count(file, "llama.attention.head_count_kv", into.query_heads);
  if (into.query_heads % into.kv_heads != 0) {
    throw Error(ErrorCode::malformed_file,
                fmt::format("{} query heads cannot share {} key heads evenly", into.query_heads, into.kv_heads));
  }
  const bool has_key_length = file.metadata().contains("llama.attention.key_length");
  if (!has_key_length && into.embedding % into.query_heads != 0) {
    throw Error(ErrorCode::malformed_file,
                fmt::format("an embedding of {} cannot be cut into {} heads evenly", into.embedding, into.query_heads));
  }
  into.head_dim = read_count(file, "llama.attention.key_length", std::max(1u, into.embedding / into.query_heads));
  if (read_count(file, "llama.attention.value_length", into.head_dim) != into.head_dim) {
    refuse("llama.attention.value_length", "values of another length than keys", "use a model where they are equal");
  }
  if (into.head_dim % kHeadDimMultiple != 0) {
    throw Error(ErrorCode::unsupported,
                fmt::format("heads of {} dimensions are not supported; use a model whose head dimension is a multiple "
                            "of {}",
                            into.head_dim, kHeadDimMultiple));
  }
}

// Rows of query and key weights are permuted by the converter so that neighbours form a pair.
kernels::Rope read_rope(const GgufFile& file, std::uint32_t head_dim) {
  const kernels::Rope rope = {.dims = read_count(file, "llama.rope.dimension_count", head_dim),
                              .base = read_positive(file, "llama.rope.freq_base", 10000.0),
                              .pairing = kernels::RopePairing::neighbours};
  if (rope.dims % 2 != 0 || rope.dims > head_dim) {
    throw Error(ErrorCode::malformed_file, fmt::format("metadata key \"llama.rope.dimension_count\" is {}; an even "
                                                       "number up to the head dimension {} is needed",
                                                       rope.dims, head_dim));
  }
  return rope;
}

// How many tokens the model knows: by its embeddings, with which the other statements must agree.
std::uint32_t read_vocabulary(const GgufFile& file) {
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
  if (file.metadata().contains("llama.vocab_size")) expect("llama.vocab_size", read_count(file, "llama.vocab_size"));
  const auto entry = file.metadata().find("tokenizer.ggml.tokens");
  if (entry != file.metadata().end() && std::holds_alternative<GgufArray>(entry->second)) {
    expect(entry->first, std::visit([](const auto& tokens) -> std::uint64_t { return tokens.size(); },
                                    std::get<GgufArray>(entry->second)));
  }
  if (vocabulary > kMaxCount) {
    throw Error(ErrorCode::malformed_file,
                fmt::format("embeddings of {} tokens; {} are possible", vocabulary, kMaxCount));
  }
  return static_cast<std::uint32_t>(vocabulary);
}

}  // namespace

Hyperparameters read_hyperparameters(const GgufFile& file) {
  refuse_other_files(file);
  refuse_unknown_keys(file);
  Hyperparameters result;
  result.architecture = file.require_string("general.architecture");
  result.name = file.find_string("general.name").value_or("");
  result.layers = read_count(file, "llama.block_count");
  result.embedding = read_count(file, "llama.embedding_length");
  result.feed_forward = read_count(file, "llama.feed_forward_length");
  result.context_length = read_count(file, "llama.context_length");
  result.norm_epsilon = static_cast<float>(read_positive(file, "llama.attention.layer_norm_rms_epsilon"));
  result.vocabulary = read_vocabulary(file);
  read_heads(file, result);
  result.rope = read_rope(file, result.head_dim);
  return result;
}

}  // namespace rotulus::worker
