#include "worker/doctor/inspection.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <map>
#include <optional>
#include <set>
#include <string_view>

#include "kernels/kv_format.h"
#include "protocol/error.h"
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
    parts.push_back(fmt::format("{} {} ({:.1f} MB)", sum.count, type, static_cast<double>(sum.bytes) / 1e6));
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
  if (const auto window = file.find_unsigned(key("attention.sliding_window")); window && *window > 0)
    inspection.unusual.push_back(fmt::format("sliding window: some layers see the last {} tokens only", *window));
}

void add_model(const GgufFile& file, Inspection& inspection) {
  const auto architecture = file.find_string("general.architecture");
  inspection.facts.push_back({"name", std::string(file.find_string("general.name").value_or("not in the file"))});
  inspection.facts.push_back({"architecture", std::string(architecture.value_or("not in the file"))});
  if (architecture) add_rope(file, std::string(*architecture), inspection);
  const auto model = read_or_refuse(inspection, [&] { return read_hyperparameters(file); });
  if (!model) return;
  inspection.facts.push_back({"window", fmt::format("{} tokens", model->context_length)});
  inspection.facts.push_back({"attention", fmt::format("{} layers, {} query heads, {} KV heads of {}", model->layers,
                                                       model->query_heads, model->kv_heads, model->head_dim)});
  for (const kernels::KvType type : kernels::kKvTypes) {
    const std::uint64_t token =
        kernels::KvFormat{type, model->kv_heads, model->head_dim}.token_bytes() * std::uint64_t{model->layers};
    inspection.kv.push_back({std::string(kernels::to_string(type)), token, token * model->context_length});
  }
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
  if (chat && *chat) inspection.facts.push_back({"chat template", std::string((*chat)->name())});
  if (chat && !*chat) {
    inspection.facts.push_back({"chat template", "none"});
    inspection.unusual.push_back("no chat template: raw completions only, or --chat-template");
  }
}

}  // namespace

Inspection inspect(const GgufFile& file, const std::string& chat_template) {
  Inspection inspection;
  add_model(file, inspection);
  add_tensors(file, inspection);
  add_tokenizer(file, inspection);
  add_chat_template(file, chat_template, inspection);
  return inspection;
}

}  // namespace rotulus::worker::doctor
