#include "coordinator/text_service.h"

#include <utility>

namespace rotulus::coordinator {
namespace {

using protocol::Error;
using protocol::ErrorCode;

// The longest text of one call takes a fraction of a second; the rest is waiting behind others.
constexpr auto kTextTimeout = std::chrono::seconds(30);
constexpr auto kExpiryInterval = std::chrono::seconds(1);

}  // namespace

void TextService::encode(protocol::EncodeText request, Cluster::IdsDone done) {
  request.call = ++last_call_;
  call(request.call, request, {.on_ids = std::move(done)});
}

void TextService::open_frame(protocol::Frame frame, std::optional<std::string> system, Cluster::IdsDone done) {
  const std::uint64_t number = ++last_call_;
  call(number,
       protocol::TokenizeDocument{
           .call = number, .is_first = true, .is_last = true, .frame = frame, .system = std::move(system), .bytes = {}},
       {.on_ids = std::move(done)});
}

void TextService::tokenize(protocol::TokenizeDocument piece, PartDone on_part) {
  call(piece.call, piece, {.on_part = std::move(on_part)});
}

void TextService::decode(std::vector<protocol::TokenId> ids, Cluster::PiecesDone done) {
  const std::uint64_t number = ++last_call_;
  call(number, protocol::DecodeTokens{number, std::move(ids)}, {.on_pieces = std::move(done)});
}

void TextService::render(std::vector<protocol::ChatMessage> messages, Cluster::TextDone done) {
  const std::uint64_t number = ++last_call_;
  call(number, protocol::RenderTemplate{number, std::move(messages)},
       {.on_pieces = [done = std::move(done)](std::optional<Error> error, std::string text, const auto&) {
         done(std::move(error), std::move(text));
       }});
}

void TextService::call(std::uint64_t number, const protocol::Message& message, Call call) {
  std::optional<Error> error;
  if (!group_.is_ready()) {
    error = Error(ErrorCode::unavailable, fmt::format("no worker group is ready: {}", group_.state()));
  } else {
    try {
      group_.send_text(message);
    } catch (const Error& too_large) {
      error = Error(ErrorCode::payload_too_large,
                    "the text is longer than 1 MiB; submit it as a context, which is streamed");
    }
  }
  if (error) return loop_.post([error, call = std::move(call)] { fail(call, *error); });
  call.deadline = loop_.now() + kTextTimeout;
  calls_[number].push_back(std::move(call));
  if (!expiry_) expiry_ = loop_.after(kExpiryInterval, [this] { expire(); });
}

void TextService::on_message(const protocol::Message& message) {
  if (const auto* encoded = std::get_if<protocol::EncodedText>(&message)) return on_encoded(*encoded);
  if (const auto* decoded = std::get_if<protocol::DecodedText>(&message)) return on_decoded(*decoded);
}

// The call that waits longest under this number; nullopt: it has expired.
std::optional<TextService::Call> TextService::take(std::uint64_t number) {
  const auto found = calls_.find(number);
  if (found == calls_.end()) return std::nullopt;
  Call call = std::move(found->second.front());
  found->second.pop_front();
  if (found->second.empty()) calls_.erase(found);
  return call;
}

void TextService::on_encoded(const protocol::EncodedText& part) {
  const auto found = calls_.find(part.call);
  if (found == calls_.end()) return;
  if (part.error) return fail(*take(part.call), Error(*part.error, part.message));
  Call& waiting = found->second.front();
  if (const PartDone on_part = waiting.on_part) {
    if (part.is_last) take(part.call);
    return on_part(std::nullopt, part.ids, part.is_last);
  }
  waiting.ids.insert(waiting.ids.end(), part.ids.begin(), part.ids.end());
  if (!part.is_last) return;
  const Call answered = *take(part.call);
  if (answered.on_ids) answered.on_ids(std::nullopt, answered.ids);
}

void TextService::on_decoded(const protocol::DecodedText& part) {
  const auto found = calls_.find(part.call);
  if (found == calls_.end()) return;
  if (part.error) return fail(*take(part.call), Error(*part.error, part.message));
  Call& waiting = found->second.front();
  waiting.text += part.text;
  waiting.pieces.insert(waiting.pieces.end(), part.pieces.begin(), part.pieces.end());
  if (!part.is_last) return;
  const Call answered = *take(part.call);
  if (answered.on_pieces) answered.on_pieces(std::nullopt, answered.text, answered.pieces);
}

void TextService::fail(const Call& call, const Error& error) {
  if (call.on_part) call.on_part(error, {}, true);
  if (call.on_ids) call.on_ids(error, {});
  if (call.on_pieces) call.on_pieces(error, {}, {});
}

void TextService::on_group_lost(const std::string& why) {
  const auto lost = std::exchange(calls_, {});
  for (const auto& [number, queue] : lost) {
    for (const Call& call : queue) fail(call, Error(ErrorCode::unavailable, "the worker group was lost: " + why));
  }
}

void TextService::expire() {
  std::vector<Call> expired;
  const auto now = loop_.now();
  for (auto call = calls_.begin(); call != calls_.end();) {
    if (call->second.front().deadline > now) {
      ++call;
      continue;
    }
    for (Call& late : call->second) expired.push_back(std::move(late));
    call = calls_.erase(call);
  }
  expiry_ = calls_.empty() ? nullptr : loop_.after(kExpiryInterval, [this] { expire(); });
  for (const Call& late : expired) {
    fail(late, Error(ErrorCode::deadline_exceeded, "rank 0 did not answer a text call in time"));
  }
}

}  // namespace rotulus::coordinator
