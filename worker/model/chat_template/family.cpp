#include "worker/model/chat_template/family.h"

#include <algorithm>
#include <array>
#include <utility>

#include "worker/model/chat_template/chatml.h"
#include "worker/model/chat_template/generation_prompt.h"

namespace rotulus::worker::chat_template {
namespace {

using System = Family::System;

Family chatml() {
  return {.name = "chatml",
          .system = {"<|im_start|>system\n", "<|im_end|>\n"},
          .user = {"<|im_start|>user\n", "<|im_end|>\n"},
          .assistant = {"<|im_start|>assistant\n", "<|im_end|>\n"},
          .tool = Turn{"<|im_start|>tool\n", "<|im_end|>\n"},
          .tail = "<|im_start|>assistant\n",
          .end_of_turn = "<|im_end|>"};
}

Family deepseek() {
  return {.name = "deepseek",
          .begin = "{bos}",
          .user = {"<｜User｜>", ""},
          .assistant = {"<｜Assistant｜>", "<｜end▁of▁sentence｜>"},
          .tail = "<｜Assistant｜>",
          .end_of_turn = "<｜end▁of▁sentence｜>"};
}

// R1 and the models distilled from it.
Family deepseek_r1() {
  Family family = deepseek();
  family.name = "deepseek-r1";
  family.tail += "<think>\n";
  family.thoughts = Family::Thoughts::dropped;
  return family;
}

// DeepSeek LLM, Coder-V2 and V2.
Family deepseek_v2() {
  return {.name = "deepseek-v2",
          .begin = "{bos}",
          .system = {"", "\n\n"},
          .user = {"User: ", "\n\n"},
          .assistant = {"Assistant: ", "{eos}"},
          .tail = "Assistant:"};
}

Family gemma() {
  return {.name = "gemma",
          .begin = "{bos}",
          .system_place = System::first_user,
          .system = {"", "\n\n"},
          .user = {"<start_of_turn>user\n", "<end_of_turn>\n"},
          .assistant = {"<start_of_turn>model\n", "<end_of_turn>\n"},
          .tail = "<start_of_turn>model\n",
          .trims_content = true,
          .end_of_turn = "<end_of_turn>"};
}

Family llama2() {
  return {.name = "llama2",
          .system_place = System::first_user,
          .system = {"<<SYS>>\n", "\n<</SYS>>\n\n"},
          .user = {"{bos}[INST] ", " [/INST]"},
          .assistant = {" ", " {eos}"},
          .trims_content = true};
}

Family llama3() {
  constexpr const char* kEnd = "<|eot_id|>";
  return {.name = "llama3",
          .begin = "{bos}",
          .system = {"<|start_header_id|>system<|end_header_id|>\n\n", kEnd},
          .user = {"<|start_header_id|>user<|end_header_id|>\n\n", kEnd},
          .assistant = {"<|start_header_id|>assistant<|end_header_id|>\n\n", kEnd},
          .tail = "<|start_header_id|>assistant<|end_header_id|>\n\n",
          .trims_content = true,
          .end_of_turn = kEnd};
}

// Llama 3.1 to 3.3. The date is the one their templates fall back to: a stored context must not change with the day.
Family llama31() {
  Family family = llama3();
  family.name = "llama3.1";
  family.system.before += "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n";
  family.default_system = "";
  return family;
}

// `space` stands inside the marks, where the vocabulary is not Tekken's.
Family mistral(std::string name, const std::string& space, bool has_system_turn = false) {
  Family family{.name = std::move(name),
                .begin = "{bos}",
                .system_place = System::first_user,
                .system = {"", "\n\n"},
                .user = {"[INST]" + space, "[/INST]"},
                .assistant = {space, "{eos}"}};
  if (has_system_turn) {
    family.system_place = System::turn;
    family.system = {"[SYSTEM_PROMPT]" + space, "[/SYSTEM_PROMPT]"};
  }
  return family;
}

Family mistral_v1() {
  Family family = mistral("mistral-v1", " ");
  family.user = {" [INST] ", " [/INST]"};
  return family;
}

Family mistral_v3() {
  return mistral("mistral-v3", " ");
}

Family mistral_v3_tekken() {
  return mistral("mistral-v3-tekken", "");
}

Family mistral_v7() {
  return mistral("mistral-v7", " ", true);
}

Family mistral_v7_tekken() {
  return mistral("mistral-v7-tekken", "", true);
}

Family phi3() {
  return {.name = "phi3",
          .system = {"<|system|>\n", "<|end|>\n"},
          .user = {"<|user|>\n", "<|end|>\n"},
          .assistant = {"<|assistant|>\n", "<|end|>\n"},
          .tail = "<|assistant|>\n",
          .end_of_turn = "<|end|>"};
}

Family phi4() {
  return {.name = "phi4",
          .system = {"<|im_start|>system<|im_sep|>", "<|im_end|>"},
          .user = {"<|im_start|>user<|im_sep|>", "<|im_end|>"},
          .assistant = {"<|im_start|>assistant<|im_sep|>", "<|im_end|>"},
          .tail = "<|im_start|>assistant<|im_sep|>",
          .end_of_turn = "<|im_end|>"};
}

Family zephyr() {
  return {.name = "zephyr",
          .system = {"<|system|>\n", "{eos}\n"},
          .user = {"<|user|>\n", "{eos}\n"},
          .assistant = {"<|assistant|>\n", "{eos}\n"},
          .tail = "<|assistant|>\n"};
}

using MakeFamily = Family (*)();
constexpr std::array<std::string_view, 16> kNames = {"chatml",
                                                     "deepseek",
                                                     "deepseek-r1",
                                                     "deepseek-v2",
                                                     "gemma",
                                                     "llama2",
                                                     "llama3",
                                                     "llama3.1",
                                                     "mistral-v1",
                                                     "mistral-v3",
                                                     "mistral-v3-tekken",
                                                     "mistral-v7",
                                                     "mistral-v7-tekken",
                                                     "phi3",
                                                     "phi4",
                                                     "zephyr"};
constexpr std::array<MakeFamily, kNames.size()> kMakers = {
    chatml,     deepseek,          deepseek_r1, deepseek_v2,       gemma, llama2, llama3, llama31, mistral_v1,
    mistral_v3, mistral_v3_tekken, mistral_v7,  mistral_v7_tekken, phi3,  phi4,   zephyr};

bool has(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

// Strings of a template have their newlines escaped or not.
std::string with_newlines(std::string_view jinja) {
  std::string text;
  for (std::size_t i = 0; i < jinja.size(); ++i) {
    const bool is_newline = jinja.substr(i).starts_with("\\n");
    text += is_newline ? '\n' : jinja[i];
    i += is_newline ? 1 : 0;
  }
  return text;
}

// What the template says as system where none is given: the one string that is a whole system turn.
std::optional<std::string> literal_system(std::string_view text, const Turn& turn) {
  for (std::size_t at = text.find(turn.before); at != std::string_view::npos; at = text.find(turn.before, at + 1)) {
    const std::string_view rest = text.substr(at + turn.before.size());
    const std::size_t end = rest.find(turn.after);
    if (end == std::string_view::npos) return std::nullopt;
    const std::string_view said = rest.substr(0, end);
    if (said.find_first_of("'\"{}") == std::string_view::npos) return std::string(said);
  }
  return std::nullopt;
}

// How the answer begins, where that is the head of the family's turn and perhaps the model's thoughts.
bool read_tail(std::string_view jinja, Family& family) {
  const auto prompt = read_generation_prompt(jinja);
  if (!prompt || !prompt->starts_with(family.tail)) return false;
  family.tail = *prompt;
  return true;
}

Family::Thoughts read_thoughts(std::string_view text) {
  constexpr std::string_view kSplit = "content.split('</think>')[-1]";
  const std::size_t at = text.find(kSplit);
  if (at == std::string_view::npos) return Family::Thoughts::kept;
  const bool strips = text.substr(at + kSplit.size()).starts_with(".lstrip('\n')");
  return strips ? Family::Thoughts::dropped_with_newlines : Family::Thoughts::dropped;
}

std::optional<Family> recognise_chatml_family(std::string_view jinja, std::string_view text) {
  Family family = chatml();
  if (const auto exact = recognise_chatml(jinja)) {
    family.default_system = exact->default_system;
    family.tail = exact->tail;
    return family;
  }
  // Qwen's, with their tools, which we do not send, and the thoughts of earlier answers, which some drop.
  const bool is_qwen = has(text, "<|im_start|>system\n") && has(text, "<|im_end|>\n") && has(text, "# Tools\n\n");
  if (!is_qwen || has(text, "bos_token") || !read_tail(jinja, family)) return std::nullopt;
  family.default_system = literal_system(text, family.system);
  family.thoughts = read_thoughts(text);
  return family;
}

// Meta's, and those that say a system message of their own where none is given.
std::optional<Family> recognise_llama2(std::string_view text) {
  if (!has(text, "'<<SYS>>\n' + system_message + '\n<</SYS>>\n\n' + message['content']")) return std::nullopt;
  Family family = llama2();
  if (!has(text, "bos_token + '[INST] '")) {
    family.begin = "{bos}";
    family.user.before = "[INST] ";
  }
  constexpr std::string_view kDefault = "set system_message = '";
  if (const std::size_t at = text.find(kDefault); at != std::string_view::npos) {
    const std::string_view rest = text.substr(at + kDefault.size());
    const std::string_view said = rest.substr(0, rest.find('\''));
    if (said.ends_with('\\')) return std::nullopt;
    family.default_system = said;
  }
  return family;
}

std::optional<Family> recognise_mistral(std::string_view text) {
  if (has(text, "<<SYS>>")) return recognise_llama2(text);
  const bool is_spaced = has(text, "[INST] ");
  if (has(text, "[SYSTEM_PROMPT]")) {
    if (has(text, "default_system_message")) return std::nullopt;  // a page of text with the date of the day
    return is_spaced ? mistral_v7() : mistral_v7_tekken();
  }
  if (!is_spaced) return mistral_v3_tekken();
  if (!has(text, " [/INST]")) return mistral_v3();
  Family family = mistral_v1();
  if (!has(text, " [INST] ")) family.user.before = "[INST] ";
  if (!has(text, "' ' + message")) family.assistant.before = "";
  if (has(text, "eos_token + ' '")) family.assistant.after = "{eos} ";
  if (!has(text, "'system'")) family.system_place = System::none;
  return family;
}

std::optional<Family> recognise_deepseek(std::string_view jinja, std::string_view text) {
  Family family = has(text, "<think>") ? deepseek_r1() : deepseek();
  family.tail = deepseek().tail;
  if (!read_tail(jinja, family)) return std::nullopt;
  family.thoughts = read_thoughts(text);
  if (has(text, "'<｜User｜>' + message['content'] + '<｜end▁of▁sentence｜>'")) family.user.after = family.end_of_turn;
  return family;
}

std::optional<Family> recognise_deepseek_v2(std::string_view text) {
  if (!has(text, "eos_token") || has(text, "System: ")) return std::nullopt;
  return deepseek_v2();
}

constexpr std::string_view kAnyRole = "'<|' + message['role'] + '|>'";

std::optional<Family> recognise_phi_or_zephyr(std::string_view text) {
  if (!has(text, "<|end|>\n") && !has(text, "'<|end|>' + '\n'")) {
    return has(text, "eos_token }}") ? std::optional(zephyr()) : std::nullopt;
  }
  Family family = phi3();
  if (!has(text, "<|system|>") && !has(text, kAnyRole)) family.system_place = System::none;
  if (has(text, "{{ bos_token }}") || has(text, "{{bos_token}}")) family.begin = "{bos}";
  return family;
}

}  // namespace

std::span<const std::string_view> family_names() {
  return kNames;
}

std::optional<Family> find_family(std::string_view name) {
  const auto* found = std::find(kNames.begin(), kNames.end(), name);
  if (found == kNames.end()) return std::nullopt;
  return kMakers[static_cast<std::size_t>(found - kNames.begin())]();
}

std::optional<Family> recognise_family(std::string_view jinja) {
  const std::string text = with_newlines(jinja);
  const bool knows_tools = has(text, "tools") || has(text, "functions");
  if (has(text, "<|im_start|>user<|im_sep|>")) return knows_tools ? std::nullopt : std::optional(phi4());
  if (has(text, "<|im_start|>")) return recognise_chatml_family(jinja, text);
  if (has(text, "<|start_header_id|>") && has(text, "<|eot_id|>")) {
    if (!knows_tools) return llama3();
    const bool is_dated = has(text, "\"Cutting Knowledge Date: December 2023\n\"") && has(text, "\"26 Jul 2024\"");
    return is_dated ? std::optional(llama31()) : std::nullopt;
  }
  if (has(text, "[INST]")) return recognise_mistral(text);
  if (has(text, "<｜User｜>") && has(text, "<｜Assistant｜>")) return recognise_deepseek(jinja, text);
  if (knows_tools) return std::nullopt;  // of the families below, none does
  if (has(text, "<start_of_turn>") && has(text, "<end_of_turn>")) {
    Family family = gemma();
    if (has(text, "System role not supported")) family.system_place = System::none;
    return family;
  }
  if (has(text, "User: ") && has(text, "Assistant:")) return recognise_deepseek_v2(text);
  if ((has(text, "<|user|>") || has(text, kAnyRole)) && has(text, "<|assistant|>"))
    return recognise_phi_or_zephyr(text);
  return std::nullopt;
}

}  // namespace rotulus::worker::chat_template
