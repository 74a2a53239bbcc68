#include "worker/model/chat_template/chatml.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <span>
#include <utility>
#include <vector>

#include "protocol/error.h"
#include "worker/model/chat_template/jinja_statements.h"

namespace rotulus::worker::chat_template {
namespace {

using protocol::Error;
using protocol::ErrorCode;
using Kind = Statement::Kind;

constexpr std::string_view kStart = "<|im_start|>";
constexpr std::string_view kEnd = "<|im_end|>\n";
constexpr std::string_view kBeforeQuestion = "\n\n";
constexpr std::array<std::string_view, 4> kRoles = {"system", "user", "assistant", "tool"};

const Statement kLoop = {Kind::control, "for message in messages"};
const Statement kIfNoSystem = {Kind::control, "if loop.first and messages[0].role!='system'"};
const Statement kEndIf = {Kind::control, "endif"};
const std::vector<Statement> kTurnAndTail = {
    {Kind::literal, "<|im_start|>"},
    {Kind::value, "message.role"},
    {Kind::literal, "\n"},
    {Kind::value, "message.content"},
    {Kind::literal, "<|im_end|>\n"},
    {Kind::control, "endfor"},
    {Kind::control, "if add_generation_prompt"},
    {Kind::literal, "<|im_start|>assistant\n"},
    {Kind::control, "endif"},
};
// A default for callers that do not say whether they want an answer; we always do.
const std::vector<Statement> kPreamble = {
    {Kind::control, "if not add_generation_prompt is defined"},
    {Kind::control, "set add_generation_prompt=false"},
    {Kind::control, "endif"},
};

class ChatmlTemplate final : public ChatTemplate {
 public:
  explicit ChatmlTemplate(Chatml chatml) : chatml_(std::move(chatml)) {}

  std::string_view name() const override { return "chatml"; }

  Prompt render(const std::vector<Message>& messages) const override {
    Prompt prompt;
    if (!messages.empty() && messages.front().role != "system") add_default_system(prompt);
    for (const Message& message : messages) add_turn(message, prompt);
    add_markup(fmt::format("{}assistant\n", kStart), prompt);
    return prompt;
  }

  Prompt open_document(const std::optional<std::string>& system) const override {
    Prompt prompt;
    if (system)
      add_turn({"system", *system}, prompt);
    else
      add_default_system(prompt);
    add_markup(fmt::format("{}user\n", kStart), prompt);
    return prompt;
  }

  Prompt close_document(const std::vector<Message>& messages) const override {
    if (messages.empty() || messages.front().role != "user")
      throw Error(ErrorCode::invalid_argument, "the first message about a context is the user's question", "messages");
    Prompt prompt;
    add_text(std::string(kBeforeQuestion) + messages.front().content, prompt);
    add_markup(kEnd, prompt);
    for (const Message& message : std::span(messages).subspan(1)) {
      if (message.role == "system")
        throw Error(ErrorCode::invalid_argument, "the system message of a context is given when it is created",
                    "messages");
      add_turn(message, prompt);
    }
    add_markup(fmt::format("{}assistant\n", kStart), prompt);
    return prompt;
  }

  std::vector<std::string> stop_strings() const override { return {"<|im_end|>"}; }

 private:
  static void add_markup(std::string_view text, Prompt& prompt) {
    if (!prompt.empty() && prompt.back().kind == PromptPiece::Kind::markup)
      prompt.back().text += text;
    else
      prompt.push_back({PromptPiece::Kind::markup, std::string(text)});
  }

  static void add_text(std::string text, Prompt& prompt) {
    if (!text.empty()) prompt.push_back({PromptPiece::Kind::text, std::move(text)});
  }

  static void add_turn(const Message& message, Prompt& prompt) {
    // The role is written as markup: no other may reach it.
    if (std::find(kRoles.begin(), kRoles.end(), message.role) == kRoles.end())
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("role \"{}\" is none of system, user, assistant, tool", message.role), "messages");
    add_markup(fmt::format("{}{}\n", kStart, message.role), prompt);
    add_text(message.content, prompt);
    add_markup(kEnd, prompt);
  }

  void add_default_system(Prompt& prompt) const {
    // As markup, as it stands in the template: its author may have put special tokens into it.
    if (chatml_.default_system)
      add_markup(fmt::format("{}system\n{}{}", kStart, *chatml_.default_system, kEnd), prompt);
  }

  Chatml chatml_;
};

bool take(std::span<const Statement>& statements, std::span<const Statement> expected) {
  if (statements.size() < expected.size() || !std::equal(expected.begin(), expected.end(), statements.begin()))
    return false;
  statements = statements.subspan(expected.size());
  return true;
}

bool take(std::span<const Statement>& statements, const Statement& expected) {
  return take(statements, std::span(&expected, 1));
}

}  // namespace

std::optional<Chatml> recognise_chatml(std::string_view jinja) {
  constexpr std::string_view kSystem = "<|im_start|>system\n";
  const auto read = read_jinja(jinja);
  if (!read) return std::nullopt;
  std::span<const Statement> statements = *read;
  Chatml chatml;
  take(statements, kPreamble);
  if (!take(statements, kLoop)) return std::nullopt;
  if (take(statements, kIfNoSystem)) {
    if (statements.empty() || statements[0].kind != Kind::literal) return std::nullopt;
    std::string_view system = statements[0].text;
    if (!system.starts_with(kSystem) || !system.ends_with(kEnd)) return std::nullopt;
    system.remove_prefix(kSystem.size());
    if (system.size() < kEnd.size()) return std::nullopt;
    system.remove_suffix(kEnd.size());
    chatml.default_system = std::string(system);
    statements = statements.subspan(1);
    if (!take(statements, kEndIf)) return std::nullopt;
  }
  if (!take(statements, kTurnAndTail) || !statements.empty()) return std::nullopt;
  return chatml;
}

std::unique_ptr<ChatTemplate> make_chatml(Chatml chatml) {
  return std::make_unique<ChatmlTemplate>(std::move(chatml));
}

}  // namespace rotulus::worker::chat_template
