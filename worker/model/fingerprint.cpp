#include "worker/model/fingerprint.h"

#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <memory>
#include <type_traits>
#include <vector>

#include "protocol/error.h"

namespace rotulus::worker {
namespace {

class Sha256 final {
 public:
  Sha256() : context_(EVP_MD_CTX_new(), EVP_MD_CTX_free) {
    const bool is_ready = context_ != nullptr && EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) == 1;
    CHECK(is_ready);
  }

  void add(const void* data, std::size_t size) {
    const bool is_added = EVP_DigestUpdate(context_.get(), data, size) == 1;
    CHECK(is_added, size);
  }
  template <typename T>
  void add_number(T value) {
    static_assert(std::is_arithmetic_v<T>);
    add(&value, sizeof(value));
  }
  void add_bytes(std::span<const std::byte> bytes) {
    add_number<std::uint64_t>(bytes.size());
    add(bytes.data(), bytes.size());
  }
  void add_text(std::string_view text) { add_bytes(std::as_bytes(std::span(text))); }

  std::string hex() && {
    std::array<unsigned char, 32> digest{};
    const bool is_final = EVP_DigestFinal_ex(context_.get(), digest.data(), nullptr) == 1;
    CHECK(is_final);
    return fmt::format("{:02x}", fmt::join(digest, ""));
  }

 private:
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context_;
};

// The kind of a value is part of what is hashed: the number 1 is not the text "1".
void add_value(Sha256& hash, const GgufValue& value) {
  hash.add_number<std::uint64_t>(value.index());
  std::visit(
      [&hash](const auto& held) {
        using Held = std::decay_t<decltype(held)>;
        if constexpr (std::is_same_v<Held, GgufArray>) {
          hash.add_number<std::uint64_t>(held.index());
          std::visit(
              [&hash](const auto& elements) {
                hash.add_number<std::uint64_t>(elements.size());
                for (const auto& element : elements) add_value(hash, GgufValue(element));
              },
              held);
        } else if constexpr (std::is_same_v<Held, std::string_view>) {
          hash.add_text(held);
        } else {
          hash.add_number(held);
        }
      },
      value);
}

void add_attention(Sha256& hash, const LayerAttention& attention) {
  hash.add_text(fmt::format("rope {} {:a} divisors", attention.rope.dims, attention.rope.base));
  for (const double divisor : attention.rope.divisors) hash.add_number(divisor);
  hash.add_text(fmt::format("turned {:a} window {}", attention.turned_query_scale, attention.window));
}

// What a plain Llama does not have. Of one there is nothing to hash, so its fingerprint tells nothing of these.
void add_what_is_not_plain(Sha256& hash, const Hyperparameters& model) {
  if (model.softmax_scale != 1.0f / std::sqrt(static_cast<float>(model.head_dim))) {
    hash.add_text(fmt::format("softmax scale {:a}", model.softmax_scale));
  }
  if (model.attention_soft_cap != 0 || model.logit_soft_cap != 0) {
    hash.add_text(fmt::format("soft caps {:a} {:a}", model.attention_soft_cap, model.logit_soft_cap));
  }
  if (!model.rope_scaling.empty() || model.full_attention.turned_query_scale != 1) {
    add_attention(hash, model.full_attention);
  }
  for (std::uint32_t layer = 0; layer < model.layers; ++layer) {
    if (!model.slides[layer]) continue;
    hash.add_text(fmt::format("layer {} slides", layer));
    add_attention(hash, model.sliding_attention);
  }
}

}  // namespace

std::string fingerprint_model(const Hyperparameters& model, const GgufFile& file) {
  Sha256 hash;
  hash.add_text(model.architecture->name);
  hash.add_text(fmt::format("layers {} embedding {} feed_forward {} heads {}/{} head_dim {} vocabulary {} window {}",
                            model.layers, model.embedding, model.feed_forward, model.query_heads, model.kv_heads,
                            model.head_dim, model.vocabulary, model.context_length));
  const kernels::Rope& rope = model.full_attention.rope;
  hash.add_text(fmt::format("epsilon {:a} rope {} {:a} {}", model.norm_epsilon, rope.dims, rope.base,
                            static_cast<int>(rope.pairing)));
  add_what_is_not_plain(hash, model);
  std::vector<const GgufTensor*> tensors;
  for (const GgufTensor& tensor : file.tensors()) tensors.push_back(&tensor);
  std::sort(tensors.begin(), tensors.end(), [](const auto* a, const auto* b) { return a->name < b->name; });
  for (const GgufTensor* tensor : tensors) {
    hash.add_text(tensor->name);
    hash.add_text(fmt::format("{} [{}]", to_string(tensor->type), fmt::join(tensor->shape, ", ")));
    hash.add_bytes(tensor->bytes);
  }
  return std::move(hash).hex();
}

std::string fingerprint_tokenizer(const GgufFile& file) {
  Sha256 hash;
  for (const auto& [key, value] : file.metadata()) {
    if (!key.starts_with("tokenizer.")) continue;
    hash.add_text(key);
    add_value(hash, value);
  }
  return std::move(hash).hex();
}

}  // namespace rotulus::worker
