// What a template prints to open the answer: its last block, under `if add_generation_prompt`.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace rotulus::worker::chat_template {

// As Jinja renders it where neither tools nor enable_thinking are given: some templates begin the model's thoughts
// there, or end them again. Nothing where the template does not end with such a block of literals, or where something
// decides in it that is not known here.
std::optional<std::string> read_generation_prompt(std::string_view jinja);

}  // namespace rotulus::worker::chat_template
