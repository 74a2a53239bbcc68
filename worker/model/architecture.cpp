#include "worker/model/architecture.h"

#include <array>

namespace rotulus::worker {
namespace {

constexpr std::array kArchitectures = {
    // Llama 1 to 3.3, SmolLM2, Mistral.
    Architecture{
        .name = "llama", .pairing = kernels::RopePairing::neighbours, .biases = Biases::optional, .full_layer_each = 0},
    Architecture{.name = "qwen2", .biases = Biases::attention},
    Architecture{.name = "qwen3", .has_head_norms = true},
    Architecture{.name = "gemma2",
                 .activation = Activation::gelu,
                 .has_post_norms = true,
                 .scales_embeddings = true,
                 .attention_soft_cap = 50,
                 .logit_soft_cap = 30,
                 .sliding_window = 4096,
                 .full_layer_each = 2,
                 .layers_of_wide_scale = 46},
    Architecture{.name = "gemma3",
                 .activation = Activation::gelu,
                 .has_head_norms = true,
                 .has_post_norms = true,
                 .scales_embeddings = true,
                 .full_layer_each = 6,
                 .sliding_rope_base = 10000,
                 .layers_of_wide_scale = 62},
    // Phi-3, Phi-3.5, Phi-4.
    Architecture{.name = "phi3", .has_fused_products = true, .full_layer_each = 0},
};

}  // namespace

const Architecture* find_architecture(std::string_view name) {
  for (const Architecture& architecture : kArchitectures) {
    if (architecture.name == name) return &architecture;
  }
  return nullptr;
}

std::string architecture_names() {
  std::string names;
  for (const Architecture& architecture : kArchitectures) {
    if (!names.empty()) names += ", ";
    names += architecture.name;
  }
  return names;
}

}  // namespace rotulus::worker
