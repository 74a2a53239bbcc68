#include "worker/doctor/inspection.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <string_view>

#include "kernels/kv_format.h"
#include "kernels/landmarks.h"
#include "protocol/error.h"
#include "protocol/kv_cost.h"
#include "worker/model/chat_template.h"
#include "worker/model/hyperparameters.h"
#include "worker/model/tokenizer.h"

namespace rotulus::worker::doctor {
namespace {

// What `read` gives; where it refuses the file, why is added to the inspection.
template <typename Read>
auto read_or_refuse(Inspection& inspection, Read read) -> std::optional<decltype(read())> {
  try {
    return read();
  } catch (const protocol::Error& error) {
    inspection.refused.push_back(error.message());
    return std::nullopt;
  }
}

void add_tensors(const GgufFile& file, Inspection& inspection) {
  struct Sum {
    std::size_t count = 0;
    std::uint64_t bytes = 0;
  };
  std::map<std::string, Sum> by_type;
  std::set<std::string> unknown;
  for (const GgufTensor& tensor : file.tensors()) {
    Sum& sum = by_type[to_string(tensor.type)];
    ++sum.count;
    sum.bytes += tensor.bytes.size();
    if (!find_weight_type(tensor.type)) unknown.insert(to_string(tensor.type));
  }
  std::vector<std::string> parts;
  for (const auto& [type, sum] : by_type)
    parts.push_back(fmt::format("{} {} ({})", sum.count, type, shown_bytes(sum.bytes)));
  std::string size = shown_bytes(file.bytes());
  if (const auto count = file.find_unsigned("split.count"); count && *count > 1)
    size += fmt::format(", in {} files", *count);
  inspection.facts.push_back({"size", size});
  inspection.facts.push_back({"tensors", fmt::format("{}", fmt::join(parts, ", "))});
  for (const std::string& type : unknown)
    inspection.refused.push_back(fmt::format("tensors of type {}: there is no kernel that reads it", type));
}

void add_rope(const GgufFile& file, const std::string& architecture, Inspection& inspection) {
  const auto key = [&](std::string_view name) { return fmt::format("{}.{}", architecture, name); };
  const auto base = file.find_number(key("rope.freq_base"));
  const auto scaling = file.find_string(key("rope.scaling.type"));
  std::string text = base ? fmt::format("base {:.0f}", *base) : "base not in the file";
  if (scaling && *scaling != "none") {
    text += fmt::format(", scaling {}", *scaling);
    if (const auto factor = file.find_number(key("rope.scaling.factor"))) text += fmt::format(" by {}", *factor);
    inspection.unusual.push_back(
        fmt::format("RoPE scaling ({}): positions beyond the window of its training", *scaling));
  }
  if (file.find_tensor("rope_freqs.weight") != nullptr) text += ", factors of its own (rope_freqs)";
  inspection.facts.push_back({"rope", text});
}

std::string counted(std::uint64_t count, std::string_view what) {
  return fmt::format("{} {}{}", count, what, count == 1 ? "" : "s");
}

void add_attention(const Hyperparameters& model, Inspection& inspection) {
  const auto sliding = static_cast<std::uint64_t>(std::count(model.slides.begin(), model.slides.end(), true));
  inspection.facts.push_back({"attention", fmt::format("{}, {}, {} of {}", counted(model.layers, "layer"),
                                                       counted(model.query_heads, "query head"),
                                                       counted(model.kv_heads, "KV head"), model.head_dim)});
  if (sliding > 0) {
    const std::uint32_t window = model.sliding_attention.window;
    inspection.facts.push_back(
        {"sliding window", fmt::format("{} tokens, in {} of {} layers; RoPE base {:.0f}", window, sliding, model.layers,
                                       model.sliding_attention.rope.base)});
    inspection.unusual.push_back(
        fmt::format("layers that slide keep no more than {} tokens of each {}", window, protocol::kChunkTokens));
    if (sliding == model.layers)
      inspection.unusual.push_back(fmt::format(
          "all layers slide: llama.cpp ignores that in such files, and answers otherwise behind {} tokens", window));
  }
}

void add_kv(const Hyperparameters& model, Inspection& inspection) {
  const auto full = static_cast<std::uint64_t>(std::count(model.slides.begin(), model.slides.end(), false));
  for (const kernels::KvType type : kernels::kKvTypes) {
    const kernels::KvFormat format{type, model.kv_heads, model.head_dim};
    const protocol::KvCost cost = model.kv_cost(format.token_bytes());
    const protocol::KvBytes window = protocol::kv_bytes(model.context_length, cost);
    inspection.kv.push_back(
        {.type = std::string(kernels::to_string(type)),
         .token_bytes = protocol::kv_bytes(protocol::kChunkTokens, cost).kept() / protocol::kChunkTokens,
         .landmark_bytes = full * kernels::landmark_stripe_bytes(format) / protocol::kStripeTokens,
         .window_bytes = window.kept(),
         .window_savings = window.saved});
  }
}

void add_model(const GgufFile& file, Inspection& inspection) {
  const auto architecture = file.find_string("general.architecture");
  inspection.facts.push_back({"name", std::string(file.find_string("general.name").value_or("not in the file"))});
  inspection.facts.push_back({"architecture", std::string(architecture.value_or("not in the file"))});
  if (architecture) add_rope(file, std::string(*architecture), inspection);
  const auto model = read_or_refuse(inspection, [&] { return read_hyperparameters(file); });
  if (!model) return;
  inspection.facts.push_back({"window", fmt::format("{} tokens", model->context_length)});
  add_attention(*model, inspection);
  add_kv(*model, inspection);
}

std::string shown(std::string_view token) {
  return token.empty() ? "none" : std::string(token);
}

void add_tokenizer(const GgufFile& file, Inspection& inspection) {
  const std::string kind(file.find_string("tokenizer.ggml.model").value_or("absent"));
  const std::string pre(file.find_string("tokenizer.ggml.pre").value_or("absent"));
  inspection.facts.push_back({"tokenizer", kind == "gpt2"    ? fmt::format("byte-level BPE, pre-tokenizer {}", pre)
                                           : kind == "llama" ? "SentencePiece"
                                                             : kind});
  const auto tokenizer = read_or_refuse(inspection, [&] { return std::make_unique<Tokenizer>(file); });
  if (!tokenizer) return;
  const Tokenizer& words = **tokenizer;
  inspection.facts.push_back({"vocabulary", fmt::format("{} tokens", words.vocabulary_size())});
  inspection.facts.push_back({"begin of text", fmt::format("{}, {}", shown(words.bos_text()),
                                                           words.bos() ? "put before text" : "not put before text")});
  std::vector<std::string_view> ends;
  for (TokenId id = 0; id < words.vocabulary_size(); ++id)
    if (words.ends_generation(id)) ends.push_back(words.bytes(id, true));
  inspection.facts.push_back({"ends an answer", ends.empty() ? "none" : fmt::format("{}", fmt::join(ends, " "))});
  if (ends.empty()) inspection.unusual.push_back("no token ends an answer: only max_tokens and stop strings do");
  if (const std::size_t missing = words.missing_bytes().size(); missing > 0)
    inspection.unusual.push_back(
        fmt::format("the vocabulary has no token for {} of 256 bytes: text loses them", missing));
  if (file.find_bool("tokenizer.ggml.add_eos_token").value_or(false))
    inspection.unusual.push_back("the file asks for an end-of-text token behind every text: not done, answers go on");
}

void add_chat_template(const GgufFile& file, const std::string& override_name, Inspection& inspection) {
  const auto jinja = file.find_string("tokenizer.chat_template");
  const auto chat = read_or_refuse(inspection, [&] { return make_chat_template(jinja, override_name); });
  if (chat && *chat) {
    inspection.facts.push_back({"chat template", std::string((*chat)->name())});
    const std::string tail = (*chat)->render({{"user", ""}}).back().text;
    if (tail.ends_with("<think>\n"))
      inspection.unusual.push_back("the chat template begins the model's thoughts: answers hold them, up to </think>");
  }
  if (chat && !*chat) {
    inspection.facts.push_back({"chat template", "none"});
    inspection.unusual.push_back("no chat template: raw completions only, or --chat-template");
  }
}

}  // namespace

std::string shown_bytes(std::uint64_t bytes) {
  const double kibibytes = static_cast<double>(bytes) / 1024;
  if (bytes < 1024) return fmt::format("{} B", bytes);
  if (kibibytes < 1024) return fmt::format("{:.1f} KiB", kibibytes);
  if (kibibytes < 1024 * 1024) return fmt::format("{:.1f} MiB", kibibytes / 1024);
  return fmt::format("{:.1f} GiB", kibibytes / 1024 / 1024);
}

Inspection inspect(const GgufFile& file, const std::string& chat_template) {
  Inspection inspection;
  add_model(file, inspection);
  add_tensors(file, inspection);
  add_tokenizer(file, inspection);
  add_chat_template(file, chat_template, inspection);
  return inspection;
}

}  // namespace rotulus::worker::doctor
