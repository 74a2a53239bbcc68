#include "worker/model/chat_template/generation_prompt.h"

#include <algorithm>
#include <array>

#include "worker/model/chat_template/jinja_statements.h"

namespace rotulus::worker::chat_template {
namespace {

using Kind = Statement::Kind;

// Behind the last turn of a tool the templates go on otherwise; we send no tools.
constexpr std::array<std::string_view, 3> kBlocks = {
    "if add_generation_prompt",
    "if add_generation_prompt and not ns.is_tool",
    "if add_generation_prompt and not ns.is_tool_outputs",
};

// What a condition is where enable_thinking is not defined; nothing for one that is not known.
std::optional<bool> evaluate(std::string_view condition) {
  if (condition == "if not enable_thinking") return true;
  if (condition == "if enable_thinking is defined and enable_thinking is false") return false;
  return std::nullopt;
}

}  // namespace

std::optional<std::string> read_generation_prompt(std::string_view jinja) {
  const std::size_t condition = jinja.rfind("if add_generation_prompt");
  if (condition == std::string_view::npos) return std::nullopt;
  const std::size_t begin = jinja.rfind("{%", condition);
  if (begin == std::string_view::npos) return std::nullopt;
  const auto statements = read_jinja(jinja.substr(begin));
  if (!statements || statements->front().kind != Kind::control) return std::nullopt;
  if (std::find(kBlocks.begin(), kBlocks.end(), statements->front().text) == kBlocks.end()) return std::nullopt;

  std::string prompt;
  bool is_inner = false;  // inside a block of its own, …
  bool prints = true;     // … of which the literals may be left out
  for (std::size_t i = 1; i < statements->size(); ++i) {
    const auto& [kind, text] = (*statements)[i];
    if (kind == Kind::literal) {
      if (prints) prompt += text;
    } else if (kind == Kind::control && text == "endif") {
      if (!is_inner) return i + 1 == statements->size() ? std::optional(prompt) : std::nullopt;
      is_inner = false;
      prints = true;
    } else if (kind == Kind::control && text == "else" && is_inner) {
      prints = !prints;
    } else {
      const auto condition = kind == Kind::control && !is_inner ? evaluate(text) : std::nullopt;
      if (!condition) return std::nullopt;
      is_inner = true;
      prints = *condition;
    }
  }
  return std::nullopt;
}

}  // namespace rotulus::worker::chat_template
