#include "worker/model/chat_template/chatml.h"

#include <algorithm>
#include <span>
#include <vector>

#include "worker/model/chat_template/jinja_statements.h"

namespace rotulus::worker::chat_template {
namespace {

using Kind = Statement::Kind;

constexpr std::string_view kEnd = "<|im_end|>\n";
constexpr std::string_view kTail = "<|im_start|>assistant\n";

const Statement kLoop = {Kind::control, "for message in messages"};
const Statement kIfNoSystem = {Kind::control, "if loop.first and messages[0].role!='system'"};
const Statement kEndIf = {Kind::control, "endif"};
const std::vector<Statement> kTurn = {
    {Kind::literal, "<|im_start|>"},
    {Kind::value, "message.role"},
    {Kind::literal, "\n"},
    {Kind::value, "message.content"},
    {Kind::literal, "<|im_end|>\n"},
    {Kind::control, "endfor"},
    {Kind::control, "if add_generation_prompt"},
};
// A default for callers that do not say whether they want an answer; we always do.
const std::vector<Statement> kPreamble = {
    {Kind::control, "if not add_generation_prompt is defined"},
    {Kind::control, "set add_generation_prompt=false"},
    {Kind::control, "endif"},
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
  if (!take(statements, kTurn) || statements.size() != 2) return std::nullopt;
  const Statement& tail = statements.front();
  if (tail.kind != Kind::literal || !tail.text.starts_with(kTail) || statements.back() != kEndIf) return std::nullopt;
  chatml.tail = tail.text;
  return chatml;
}

}  // namespace rotulus::worker::chat_template
