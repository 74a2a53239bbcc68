// The chat formats of model families, as data: what stands before and after the content of each role's turn. One
// renderer (chat_template.cpp) reads these tables.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace rotulus::worker::chat_template {

// In all texts, {bos} and {eos} are the text of the vocabulary's tokens.
struct Turn {
  std::string before;
  std::string after;
};

struct Family {
  enum class System {
    turn,        // a turn of its own, before the first
    first_user,  // inside the user's first turn, before its content
    none         // the template has no place for it
  };

  // What the model thought before an earlier answer, up to the last </think>.
  enum class Thoughts {
    kept,
    dropped,
    dropped_with_newlines  // and the newlines that follow
  };

  std::string name;
  std::string begin;  // once, before everything
  System system_place = System::turn;
  Turn system;
  std::optional<std::string> default_system;  // said where no system message is given
  Turn user;
  Turn assistant;
  std::optional<Turn> tool;
  std::string tail;  // opens the assistant's turn, and its thoughts where the template does
  Thoughts thoughts = Thoughts::kept;
  bool trims_content = false;  // white space around the content of a message is dropped
  std::string end_of_turn;     // what the model says when it has done; a stop string
};

std::span<const std::string_view> family_names();  // sorted

// The family of that name, as its plainest published template has it; nothing for an unknown name.
std::optional<Family> find_family(std::string_view name);

// The family whose marks `jinja` has, with what this file says differently: default system message, BOS, how the answer
// begins, what becomes of thoughts. Nothing where no family's marks are there, or something that the tables do not
// have.
std::optional<Family> recognise_family(std::string_view jinja);

}  // namespace rotulus::worker::chat_template
