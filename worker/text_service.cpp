#include "worker/text_service.h"

#include <algorithm>
#include <new>
#include <span>

#include "protocol/error.h"
#include "protocol/limits.h"

namespace rotulus::worker {

using protocol::Error;
using protocol::ErrorCode;
using protocol::kTokenIdsPerMessage;

namespace {

// Of text and pieces in one part of an answer, as they are encoded: half a frame, so that the rest never matters.
constexpr std::size_t kPartBytes = protocol::kMaxFrameBytes / 2;
constexpr std::size_t kFailureBytes = 4096;
constexpr std::size_t kPieceOverheadBytes = 16;  // a pointer, and what fills up the last word

std::vector<Message> turns(const std::vector<protocol::ChatMessage>& messages) {
  if (messages.empty()) throw Error(ErrorCode::invalid_argument, "messages: there are none", "messages");
  std::vector<Message> turns;
  for (const protocol::ChatMessage& message : messages) turns.push_back({message.role, message.content});
  return turns;
}

// Calls `action`; what it throws, as an error of the wire.
template <typename Action>
std::optional<Error> error_of(Action action) {
  try {
    action();
    return std::nullopt;
  } catch (const Error& error) {
    return error;
  } catch (const std::bad_alloc&) {
    return Error(ErrorCode::out_of_memory, "no memory for this text");
  } catch (const std::exception& error) {
    return Error(ErrorCode::internal, error.what());
  }
}

}  // namespace

TextService::TextService(const Tokenizer& tokenizer, const ChatTemplate* chat,
                         std::function<void(protocol::Message)> reply)
    : tokenizer_(tokenizer), chat_(chat), reply_(std::move(reply)) {}

void TextService::handle(const protocol::Message& message) noexcept {
  if (const auto* piece = std::get_if<protocol::TokenizeDocument>(&message)) {
    const auto error = error_of([&] { reply_encoded(piece->call, tokenize(*piece)); });
    if (!error) return;
    documents_.remove_if([&](const Document& document) { return document.call == piece->call; });
    reply_failure<protocol::EncodedText>(piece->call, *error);
  } else if (const auto* text = std::get_if<protocol::EncodeText>(&message)) {
    const auto error = error_of([&] { reply_encoded(text->call, encode(*text)); });
    if (error) reply_failure<protocol::EncodedText>(text->call, *error);
  } else if (const auto* tokens = std::get_if<protocol::DecodeTokens>(&message)) {
    const auto error = error_of([&] { reply_decoded(tokens->call, tokens->ids); });
    if (error) reply_failure<protocol::DecodedText>(tokens->call, *error);
  } else {
    const auto* conversation = std::get_if<protocol::RenderTemplate>(&message);
    CHECK(conversation != nullptr, message.index());
    const auto error = error_of([&] { reply_rendered(*conversation); });
    if (error) reply_failure<protocol::DecodedText>(conversation->call, *error);
  }
}

// ---------------------------------------------------------------------------------------------------------------
// Text to ids

std::vector<TokenId> TextService::tokenize(const protocol::TokenizeDocument& piece) {
  std::vector<TokenId> ids;
  if (piece.is_first) ids = begin_document(piece);
  const auto found = std::find_if(documents_.begin(), documents_.end(),
                                  [&](const Document& document) { return document.call == piece.call; });
  if (found == documents_.end()) {
    throw Error(
        ErrorCode::unavailable,
        fmt::format("the document of call {} is not being tokenized any more: it failed, or {} others were begun "
                    "or continued since; begin it again",
                    piece.call, protocol::kMaxTokenizedDocuments));
  }
  documents_.splice(documents_.begin(), documents_, found);
  found->stream.append(piece.bytes, ids);
  if (piece.is_last) {
    found->stream.finish(ids);
    documents_.pop_front();
  }
  return ids;
}

std::vector<TokenId> TextService::begin_document(const protocol::TokenizeDocument& first) {
  documents_.remove_if([&](const Document& document) { return document.call == first.call; });
  if (documents_.size() == protocol::kMaxTokenizedDocuments) documents_.pop_back();
  Document& document = documents_.emplace_front(first.call, tokenizer_);
  std::vector<TokenId> ids;
  if (first.frame == protocol::Frame::chat) {
    append(tokenizer_, chat().open_document(first.system), document.stream, ids);
  } else if (first.system) {
    throw Error(ErrorCode::invalid_argument, "system: a raw context has no place for it; use the frame chat", "system");
  } else if (const auto bos = tokenizer_.bos()) {
    ids.push_back(*bos);
  }
  return ids;
}

std::vector<TokenId> TextService::encode(const protocol::EncodeText& text) const {
  using Kind = protocol::EncodeText::Kind;
  switch (text.kind) {
    case Kind::text:
      return tokenizer_.encode(text.text);
    case Kind::raw_question:
      return tokenizer_.encode(text.text, SpecialTokens::as_text, TextStart::continuation);
    case Kind::text_with_special:
      return tokenizer_.encode(text.text, SpecialTokens::parse);
    case Kind::question:
      return worker::encode(tokenizer_, chat().close_document(turns(text.messages)), TextStart::continuation);
    case Kind::conversation:
      return worker::encode(tokenizer_, chat().render(turns(text.messages)));
    case Kind::prompt:
      break;
  }
  std::vector<TokenId> ids = tokenizer_.encode(text.text);
  if (const auto bos = tokenizer_.bos()) ids.insert(ids.begin(), *bos);
  return ids;
}

const ChatTemplate& TextService::chat() const {
  if (chat_) return *chat_;
  throw Error(ErrorCode::unsupported,
              "the model's file has no chat template: use raw completions, or start the workers with --chat-template");
}

// ---------------------------------------------------------------------------------------------------------------
// Answers in parts

void TextService::reply_encoded(std::uint64_t call, const std::vector<TokenId>& ids) const {
  std::span<const TokenId> rest(ids);
  do {
    const auto part = rest.first(std::min(rest.size(), kTokenIdsPerMessage));
    rest = rest.subspan(part.size());
    reply_(protocol::EncodedText{.call = call, .ids = {part.begin(), part.end()}, .is_last = rest.empty()});
  } while (!rest.empty());
}

void TextService::reply_decoded(std::uint64_t call, const std::vector<TokenId>& ids) const {
  for (const TokenId id : ids) tokenizer_.bytes(id);  // the whole, or an error
  protocol::DecodedText part{.call = call, .is_last = false};
  std::size_t part_bytes = 0;
  for (const TokenId id : ids) {
    const std::string_view bytes = tokenizer_.bytes(id, true);
    const std::size_t needed = 2 * bytes.size() + kPieceOverheadBytes;  // in the text and as a piece
    if (part_bytes + needed > kPartBytes && !part.pieces.empty()) {
      reply_(std::exchange(part, {.call = call, .is_last = false}));
      part_bytes = 0;
    }
    part_bytes += needed;
    part.text += bytes;
    part.pieces.emplace_back(bytes);
  }
  part.is_last = true;
  reply_(std::move(part));
}

void TextService::reply_rendered(const protocol::RenderTemplate& conversation) const {
  std::string text;
  for (const PromptPiece& piece : chat().render(turns(conversation.messages))) text += piece.text;
  std::size_t sent = 0;
  do {
    std::string part = text.substr(sent, kPartBytes);
    sent += part.size();
    reply_(protocol::DecodedText{.call = conversation.call, .text = std::move(part), .is_last = sent == text.size()});
  } while (sent < text.size());
}

template <typename Answer>
void TextService::reply_failure(std::uint64_t call, const protocol::Error& error) const {
  // A message may quote what it refuses, however long that is.
  std::string message = error.message();
  if (message.size() > kFailureBytes) {
    std::size_t end = kFailureBytes;
    while (end > 0 && (message[end] & 0xc0) == 0x80) --end;  // not inside a character
    message = message.substr(0, end) + " …";
  }
  reply_(Answer{.call = call, .error = error.code(), .message = std::move(message)});
}

}  // namespace rotulus::worker
