#include "protocol/codec/fields.h"
#include "protocol/codec/parts.h"

namespace rotulus::protocol::schema {
namespace {

template <typename Builder>
void write_failure(Builder to, const std::optional<protocol::ErrorCode>& code, const std::string& message) {
  if (code) to.getError().setCode(write(*code));
  to.setMessage(text(message));
}

template <typename Reader>
std::optional<protocol::ErrorCode> read_failure(Reader from) {
  if (!from.getError().isCode()) return std::nullopt;
  return read(from.getError().getCode());
}

}  // namespace

void write(ChatMessage::Builder to, const protocol::ChatMessage& from) {
  to.setRole(text(from.role));
  to.setContent(text(from.content));
}

protocol::ChatMessage read(ChatMessage::Reader from) {
  return {.role = text(from.getRole()), .content = text(from.getContent())};
}

void write(TokenizeDocument::Builder to, const protocol::TokenizeDocument& from) {
  check_limit(from.bytes.size(), kTokenizePieceBytes, "bytes");
  to.setCall(from.call);
  to.setIsFirst(from.is_first);
  to.setIsLast(from.is_last);
  to.setFrame(write(from.frame));
  if (from.system) to.getSystem().setGiven(text(*from.system));
  to.setBytes(data(from.bytes));
}

protocol::TokenizeDocument read(TokenizeDocument::Reader from) {
  protocol::TokenizeDocument document{.call = from.getCall(),
                                      .is_first = from.getIsFirst(),
                                      .is_last = from.getIsLast(),
                                      .frame = read(from.getFrame()),
                                      .bytes = data(from.getBytes())};
  if (from.getSystem().isGiven()) document.system = text(from.getSystem().getGiven());
  check_limit(document.bytes.size(), kTokenizePieceBytes, "bytes");
  return document;
}

void write(EncodeText::Builder to, const protocol::EncodeText& from) {
  to.setCall(from.call);
  to.setKind(to_wire<EncodeText::Kind>(from.kind));
  to.setText(data(from.text));
  write_list(to.initMessages(count_of(from.messages)), from.messages);
}

protocol::EncodeText read(EncodeText::Reader from) {
  return {.call = from.getCall(),
          .kind = from_wire(from.getKind(), protocol::EncodeText::Kind::prompt, "kind"),
          .text = data(from.getText()),
          .messages = read_list(from.getMessages())};
}

void write(EncodedText::Builder to, const protocol::EncodedText& from) {
  to.setCall(from.call);
  write_numbers<TokenId>(to.initIds(count_of_tokens(from.ids, "ids")), from.ids);
  to.setIsLast(from.is_last);
  write_failure(to, from.error, from.message);
}

protocol::EncodedText read(EncodedText::Reader from) {
  return {.call = from.getCall(),
          .ids = read_tokens(from.getIds(), "ids"),
          .is_last = from.getIsLast(),
          .error = read_failure(from),
          .message = text(from.getMessage())};
}

void write(DecodeTokens::Builder to, const protocol::DecodeTokens& from) {
  to.setCall(from.call);
  write_numbers<TokenId>(to.initIds(count_of_tokens(from.ids, "ids")), from.ids);
}

protocol::DecodeTokens read(DecodeTokens::Reader from) {
  return {.call = from.getCall(), .ids = read_tokens(from.getIds(), "ids")};
}

void write(RenderTemplate::Builder to, const protocol::RenderTemplate& from) {
  to.setCall(from.call);
  write_list(to.initMessages(count_of(from.messages)), from.messages);
}

protocol::RenderTemplate read(RenderTemplate::Reader from) {
  return {.call = from.getCall(), .messages = read_list(from.getMessages())};
}

void write(DecodedText::Builder to, const protocol::DecodedText& from) {
  check_limit(from.pieces.size(), kTokenIdsPerMessage, "pieces");
  to.setCall(from.call);
  to.setText(data(from.text));
  auto pieces = to.initPieces(count_of(from.pieces));
  for (unsigned i = 0; i < pieces.size(); ++i) pieces.set(i, data(from.pieces[i]));
  to.setIsLast(from.is_last);
  write_failure(to, from.error, from.message);
}

protocol::DecodedText read(DecodedText::Reader from) {
  protocol::DecodedText decoded{.call = from.getCall(),
                                .text = data(from.getText()),
                                .is_last = from.getIsLast(),
                                .error = read_failure(from),
                                .message = text(from.getMessage())};
  const auto pieces = from.getPieces();
  check_limit(pieces.size(), kTokenIdsPerMessage, "pieces");
  for (const auto piece : pieces) decoded.pieces.push_back(data(piece));
  return decoded;
}

}  // namespace rotulus::protocol::schema
