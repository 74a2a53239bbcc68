#include "worker/model/chat_template.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <span>
#include <utility>

#include "protocol/error.h"
#include "worker/model/chat_template/family.h"

namespace rotulus::worker {
namespace {

using chat_template::Family;
using protocol::Error;
using protocol::ErrorCode;

constexpr std::string_view kBeforeQuestion = "\n\n";

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kSpaces = " \t\n\r\v\f";
  const std::size_t begin = text.find_first_not_of(kSpaces);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kSpaces) + 1 - begin);
}

std::string_view without_thoughts(std::string_view content, Family::Thoughts thoughts) {
  constexpr std::string_view kEnd = "</think>";
  const std::size_t end = content.rfind(kEnd);
  if (thoughts == Family::Thoughts::kept || end == std::string_view::npos) return content;
  content.remove_prefix(end + kEnd.size());
  if (thoughts == Family::Thoughts::dropped_with_newlines) {
    content.remove_prefix(std::min(content.find_first_not_of('\n'), content.size()));
  }
  return content;
}

std::string with_marks(std::string text, std::string_view name, std::string_view mark) {
  for (std::size_t at = text.find(name); at != std::string::npos; at = text.find(name, at + mark.size()))
    text.replace(at, name.size(), mark);
  return text;
}

Family with_marks(Family family, const TemplateMarks& marks) {
  const auto replace = [&](std::string& text) {
    text = with_marks(with_marks(std::move(text), "{bos}", marks.bos), "{eos}", marks.eos);
  };
  for (std::string* text : {&family.begin, &family.tail, &family.system.before, &family.system.after,
                            &family.user.before, &family.user.after, &family.assistant.before, &family.assistant.after})
    replace(*text);
  return family;
}

class FamilyTemplate final : public ChatTemplate {
 public:
  explicit FamilyTemplate(Family family) : family_(std::move(family)) {}

  std::string_view name() const override { return family_.name; }

  Prompt render(const std::vector<Message>& messages) const override {
    std::span<const Message> turns(messages);
    std::optional<std::string> system;
    if (!turns.empty() && turns.front().role == "system") {
      system = turns.front().content;
      turns = turns.subspan(1);
    }
    Prompt prompt;
    add_markup(family_.begin, prompt);
    if (!messages.empty()) add_system_turn(system, prompt);
    bool is_first_user = true;
    for (const Message& turn : turns) {
      add_markup(find_turn(turn.role).before, prompt);
      if (turn.role == "user" && is_first_user) {
        add_system_of_user(system, prompt);
        is_first_user = false;
      }
      add_text(content_of(turn), prompt);
      add_markup(find_turn(turn.role).after, prompt);
    }
    add_markup(family_.tail, prompt);
    return prompt;
  }

  Prompt open_document(const std::optional<std::string>& system) const override {
    Prompt prompt;
    add_markup(family_.begin, prompt);
    add_system_turn(system, prompt);
    add_markup(family_.user.before, prompt);
    add_system_of_user(system, prompt);
    return prompt;
  }

  Prompt close_document(const std::vector<Message>& messages) const override {
    if (messages.empty() || messages.front().role != "user")
      throw Error(ErrorCode::invalid_argument, "the first message about a context is the user's question", "messages");
    Prompt prompt;
    std::string question = std::string(kBeforeQuestion) + messages.front().content;
    if (family_.trims_content) question.erase(question.find_last_not_of(" \t\n\r\v\f") + 1);
    add_text(std::move(question), prompt);
    add_markup(family_.user.after, prompt);
    for (const Message& turn : std::span(messages).subspan(1)) {
      if (turn.role == "system")
        throw Error(ErrorCode::invalid_argument, "the system message of a context is given when it is created",
                    "messages");
      add_markup(find_turn(turn.role).before, prompt);
      add_text(content_of(turn), prompt);
      add_markup(find_turn(turn.role).after, prompt);
    }
    add_markup(family_.tail, prompt);
    return prompt;
  }

  std::vector<std::string> stop_strings() const override {
    if (family_.end_of_turn.empty()) return {};
    return {family_.end_of_turn};
  }

 private:
  static void add_markup(std::string_view text, Prompt& prompt) {
    if (text.empty()) return;
    if (!prompt.empty() && prompt.back().kind == PromptPiece::Kind::markup)
      prompt.back().text += text;
    else
      prompt.push_back({PromptPiece::Kind::markup, std::string(text)});
  }

  static void add_text(std::string text, Prompt& prompt) {
    if (!text.empty()) prompt.push_back({PromptPiece::Kind::text, std::move(text)});
  }

  std::string content_of(const Message& message) const {
    std::string_view content = message.content;
    if (message.role == "assistant") content = without_thoughts(content, family_.thoughts);
    return std::string(family_.trims_content ? trimmed(content) : content);
  }

  // Roles become markup: no other than these may reach it.
  const chat_template::Turn& find_turn(const std::string& role) const {
    if (role == "user") return family_.user;
    if (role == "assistant") return family_.assistant;
    if (role == "system" && family_.system_place == Family::System::turn) return family_.system;
    if (role == "tool" && family_.tool) return *family_.tool;
    throw Error(
        ErrorCode::invalid_argument,
        fmt::format("the chat template {} has no place for a message of the role \"{}\" here", family_.name, role),
        "messages");
  }

  void add_system_turn(const std::optional<std::string>& system, Prompt& prompt) const {
    if (system && family_.system_place == Family::System::none)
      throw Error(ErrorCode::invalid_argument, "the model's chat template has no place for a system message",
                  "messages");
    if (family_.system_place != Family::System::turn) return;
    if (system) {
      add_markup(family_.system.before, prompt);
      add_text(content_of({"system", *system}), prompt);
      add_markup(family_.system.after, prompt);
    } else if (family_.default_system) {
      // As markup, as it stands in the template: its author may have put special tokens into it.
      add_markup(family_.system.before + *family_.default_system + family_.system.after, prompt);
    }
  }

  void add_system_of_user(const std::optional<std::string>& system, Prompt& prompt) const {
    if (family_.system_place != Family::System::first_user) return;
    if (system) {
      add_markup(family_.system.before, prompt);
      add_text(*system, prompt);
      add_markup(family_.system.after, prompt);
    } else if (family_.default_system) {
      add_markup(family_.system.before + *family_.default_system + family_.system.after, prompt);
    }
  }

  Family family_;
};

}  // namespace

std::unique_ptr<ChatTemplate> make_chat_template(std::optional<std::string_view> jinja, std::string_view override_name,
                                                 const TemplateMarks& marks) {
  const std::string names = fmt::format("{}", fmt::join(chat_template::family_names(), ", "));
  auto family = jinja ? chat_template::recognise_family(*jinja) : std::nullopt;
  if (!override_name.empty() && (!family || family->name != override_name)) {
    family = chat_template::find_family(override_name);
    if (!family)
      throw Error(ErrorCode::unsupported, fmt::format("--chat-template {}: we have {}", override_name, names));
  }
  if (family) return std::make_unique<FamilyTemplate>(with_marks(std::move(*family), marks));
  if (!jinja) return nullptr;
  throw Error(
      ErrorCode::unsupported,
      fmt::format("the chat template of the file (tokenizer.chat_template) is not one we know; if the model was "
                  "trained on ChatML, say --chat-template chatml; we have {}",
                  names));
}

TemplateMarks template_marks(const Tokenizer& tokenizer) {
  return {.bos = std::string(tokenizer.bos_text()), .eos = std::string(tokenizer.eos_text())};
}

void append(const Tokenizer& tokenizer, const Prompt& prompt, TokenStream& stream, std::vector<TokenId>& ids) {
  for (const PromptPiece& piece : prompt) {
    std::string_view text = piece.text;
    if (piece.kind == PromptPiece::Kind::markup) {
      while (const auto match = tokenizer.find_first_special(text)) {
        stream.append(text.substr(0, match->offset), ids);
        stream.append_special(match->id, ids);
        text.remove_prefix(match->offset + match->bytes);
        if (tokenizer.swallows_space_after(match->id))
          text.remove_prefix(std::min(text.find_first_not_of(" \t\n\r"), text.size()));
      }
    }
    stream.append(text, ids);
  }
}

std::vector<TokenId> encode(const Tokenizer& tokenizer, const Prompt& prompt, TextStart start) {
  std::vector<TokenId> ids;
  TokenStream stream(tokenizer, start);
  append(tokenizer, prompt, stream, ids);
  stream.finish(ids);
  return ids;
}

}  // namespace rotulus::worker
