// The narrow part of Jinja in which simple chat templates are written, read into a list of statements that can be
// compared: spacing, quotes and the two ways to name a field are made one.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace rotulus::worker::chat_template {

struct Statement {
  enum class Kind { control /* {% text %} */, literal /* printed as it is */, value /* {{ text }} */ } kind;
  std::string text;
  bool operator==(const Statement&) const = default;
};

// Printed literals that follow each other are one statement. Control text and values are without spaces, strings in
// them are quoted by ', message['role'] is message.role. Returns nothing for what is not understood: filters, calls,
// unclosed tags or strings.
std::optional<std::vector<Statement>> read_jinja(std::string_view jinja);

}  // namespace rotulus::worker::chat_template
