// ChatML: <|im_start|>role, a newline, the content, <|im_end|>, a newline.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace rotulus::worker::chat_template {

struct Chatml {
  std::optional<std::string> default_system;  // said where the first message is not a system message
  std::string tail;                           // the head of the assistant's turn, and what else begins the answer
  bool operator==(const Chatml&) const = default;
};

// What `jinja` renders, where that is exactly ChatML; nothing for any other template. Recognised are templates made of
//   for message in messages · [if the first is not system: a literal system turn · endif] · the turn · endfor ·
//   if add_generation_prompt · the head of the assistant's turn · endif
// however they are spaced and quoted, as the renderers of chat templates read them (trim_blocks, lstrip_blocks).
std::optional<Chatml> recognise_chatml(std::string_view jinja);

}  // namespace rotulus::worker::chat_template
