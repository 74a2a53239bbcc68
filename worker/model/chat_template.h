// How messages become a prompt. The family of a template is recognised from the Jinja text inside the file by the marks
// of its turns; one that has no family's is Error{unsupported} that offers --chat-template.
//
// A rendered prompt is a list of pieces, so that the text of users and documents is never parsed for special tokens.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "worker/model/tokenizer.h"

namespace rotulus::worker {

struct Message {
  std::string role;  // system, user, assistant
  std::string content;
};

struct PromptPiece {
  enum class Kind { markup /* special tokens are parsed */, text /* they are not */ } kind = Kind::text;
  std::string text;
};
using Prompt = std::vector<PromptPiece>;

class ChatTemplate {
 public:
  virtual ~ChatTemplate() = default;
  virtual std::string_view name() const = 0;  // "chatml", "llama3" …

  // The whole conversation, ready for the assistant's turn.
  virtual Prompt render(const std::vector<Message>& messages) const = 0;

  // The frame of a context: everything up to where the document stands, at the start of the first user turn. Without
  // `system` the template's own default is used, if it has one.
  virtual Prompt open_document(const std::optional<std::string>& system) const = 0;
  // The rest: the document is separated from the question by an empty line; the first message is the user's question,
  // further ones (assistant, user …) follow as turns; then the template's tail. No system message: it belongs to the
  // frame (the API refuses it before).
  virtual Prompt close_document(const std::vector<Message>& messages) const = 0;

  virtual std::vector<std::string> stop_strings() const = 0;  // beyond the tokenizer's end-of-generation tokens
};

// What templates write of the vocabulary: the text of its BOS and EOS tokens.
struct TemplateMarks {
  std::string bos;
  std::string eos;
};
TemplateMarks template_marks(const Tokenizer& tokenizer);

// `jinja`: tokenizer.chat_template of the file; `override_name`: --chat-template, "" for none. Returns nullptr where
// the file has no template and none is named (the model answers raw completions only).
std::unique_ptr<ChatTemplate> make_chat_template(std::optional<std::string_view> jinja, std::string_view override_name,
                                                 const TemplateMarks& marks = {});

// Feeds a prompt into a stream, so that a document may follow: the text after its last special token is not final yet.
void append(const Tokenizer& tokenizer, const Prompt& prompt, TokenStream& stream, std::vector<TokenId>& ids);

// Adjacent pieces are encoded as one text where both are text; markup parses special tokens, and the text between
// special tokens and the following piece is pre-tokenized together with it, as one-shot tokenizing of the string would.
std::vector<TokenId> encode(const Tokenizer& tokenizer, const Prompt& prompt, TextStart start = TextStart::beginning);

}  // namespace rotulus::worker
