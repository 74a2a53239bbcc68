// rotulus-chat --template FILE.jinja --conversations FILE.json [--bos TEXT] [--eos TEXT]: what our renderer makes of
// conversations with the family that it recognises, for oracles.
//
// The conversations are lists of {role, content}; each line of the output is the text of one as a JSON string, or null
// where the template refuses it. The first line is the name of the family.
#include <CLI/CLI.hpp>
#include <boost/json.hpp>
#include <cstdio>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "protocol/error.h"
#include "worker/model/chat_template.h"

namespace {

using namespace rotulus::worker;
namespace json = boost::json;

std::string read(const std::string& path) {
  std::stringstream content;
  content << std::ifstream(path).rdbuf();
  return content.str();
}

json::value render(const ChatTemplate& chat, const json::value& conversation) {
  std::vector<Message> messages;
  for (const json::value& message : conversation.as_array())
    messages.push_back({std::string(message.at("role").as_string()), std::string(message.at("content").as_string())});
  try {
    std::string text;
    for (const PromptPiece& piece : chat.render(messages)) text += piece.text;
    return json::value(text);
  } catch (const rotulus::protocol::Error&) {
    return nullptr;
  }
}

}  // namespace

int main(int argc, char** argv) {
  std::string jinja, conversations;
  TemplateMarks marks;
  CLI::App app;
  app.add_option("--template", jinja)->required();
  app.add_option("--conversations", conversations)->required();
  app.add_option("--bos", marks.bos);
  app.add_option("--eos", marks.eos);
  CLI11_PARSE(app, argc, argv);

  try {
    const auto chat = make_chat_template(read(jinja), "", marks);
    std::puts(std::string(chat->name()).c_str());
    const json::value parsed = json::parse(read(conversations));
    for (const json::value& conversation : parsed.as_array())
      std::puts(json::serialize(render(*chat, conversation)).c_str());
  } catch (const rotulus::protocol::Error& error) {
    std::fprintf(stderr, "%s\n", error.message().c_str());
    return 1;
  }
  return 0;
}
