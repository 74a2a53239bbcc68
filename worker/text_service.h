// Answers the coordinator's text messages with the model's tokenizer and chat template, beside the steps.
//
// A document in pieces keeps a TokenStream between them, so that its ids are those of the whole at once: in the frame
// `chat` those of encode(opening, then the document), so that the words after the opening's last special token and the
// document's first are one text; in the frame `raw` BOS, where the file asks for it, and the document. At most limits.h
// kMaxTokenizedDocuments are kept; one more gives up the one that was longest untouched, whose next piece is then
// answered by Error{unavailable}. A piece after an error is answered likewise.
//
// Each message has one answer, in one or more parts that each fit a frame; only the last has is_last. Every failure is
// an answer too: nothing is thrown.
//
// Threads: one at a time (the link's text thread). Tokenizer and template outlive it.
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <optional>
#include <string>
#include <vector>

#include "protocol/messages.h"
#include "worker/model/chat_template.h"
#include "worker/model/tokenizer.h"

namespace rotulus::worker {

class TextService final {
 public:
  // `chat`: nullptr where the model has no chat template; what needs one is then Error{unsupported}.
  TextService(const Tokenizer& tokenizer, const ChatTemplate* chat, std::function<void(protocol::Message)> reply);

  // TokenizeDocument, EncodeText, DecodeTokens or RenderTemplate; CHECKs that it is one of them.
  void handle(const protocol::Message& message) noexcept;

 private:
  struct Document {
    Document(std::uint64_t call_, const Tokenizer& tokenizer) : call(call_), stream(tokenizer) {}
    const std::uint64_t call;
    TokenStream stream;
  };

  std::vector<TokenId> tokenize(const protocol::TokenizeDocument& piece);
  std::vector<TokenId> begin_document(const protocol::TokenizeDocument& first);
  std::vector<TokenId> encode(const protocol::EncodeText& text) const;
  const ChatTemplate& chat() const;
  void reply_encoded(std::uint64_t call, const std::vector<TokenId>& ids) const;
  void reply_decoded(std::uint64_t call, const std::vector<TokenId>& ids) const;
  void reply_rendered(const protocol::RenderTemplate& conversation) const;
  template <typename Answer>
  void reply_failure(std::uint64_t call, const protocol::Error& error) const;

  const Tokenizer& tokenizer_;
  const ChatTemplate* const chat_;
  const std::function<void(protocol::Message)> reply_;
  std::list<Document> documents_;  // the last touched first
};

}  // namespace rotulus::worker
