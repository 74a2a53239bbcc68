#include "worker/model/chat_template.h"

#include <fmt/format.h>

#include "protocol/error.h"
#include "worker/model/chat_template/chatml.h"

namespace rotulus::worker {

using protocol::Error;
using protocol::ErrorCode;

std::unique_ptr<ChatTemplate> make_chat_template(std::optional<std::string_view> jinja,
                                                 std::string_view override_name) {
  if (!override_name.empty() && override_name != "chatml")
    throw Error(ErrorCode::unsupported, fmt::format("--chat-template {}: we have chatml", override_name));
  if (jinja) {
    if (auto chatml = chat_template::recognise_chatml(*jinja)) return chat_template::make_chatml(std::move(*chatml));
  }
  if (!override_name.empty()) return chat_template::make_chatml({});
  if (!jinja) return nullptr;
  throw Error(ErrorCode::unsupported,
              "the chat template of the file (tokenizer.chat_template) is not one we know; if the model was trained on "
              "ChatML, say --chat-template chatml");
}

void append(const Tokenizer& tokenizer, const Prompt& prompt, TokenStream& stream, std::vector<TokenId>& ids) {
  for (const PromptPiece& piece : prompt) {
    std::string_view text = piece.text;
    if (piece.kind == PromptPiece::Kind::markup) {
      while (const auto match = tokenizer.find_first_special(text)) {
        stream.append(text.substr(0, match->offset), ids);
        stream.append_special(match->id, ids);
        text.remove_prefix(match->offset + match->bytes);
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
