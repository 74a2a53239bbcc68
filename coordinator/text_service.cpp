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
  call(request.call, request,
       [done = std::move(done)](std::optional<Error> error, const protocol::EncodedText* encoded,
                                const protocol::DecodedText*) {
         done(std::move(error), encoded ? encoded->ids : std::vector<protocol::TokenId>());
       });
}

void TextService::tokenize(protocol::TokenizeDocument piece, Cluster::IdsDone done) {
  call(piece.call, piece,
       [done = std::move(done)](std::optional<Error> error, const protocol::EncodedText* encoded,
                                const protocol::DecodedText*) {
         done(std::move(error), encoded ? encoded->ids : std::vector<protocol::TokenId>());
       });
}

void TextService::decode(std::vector<protocol::TokenId> ids, Cluster::PiecesDone done) {
  const std::uint64_t number = ++last_call_;
  call(number, protocol::DecodeTokens{number, std::move(ids)},
       [done = std::move(done)](std::optional<Error> error, const protocol::EncodedText*,
                                const protocol::DecodedText* decoded) {
         done(std::move(error), decoded ? decoded->text : "", decoded ? decoded->pieces : std::vector<std::string>());
       });
}

void TextService::render(std::vector<protocol::ChatMessage> messages, Cluster::TextDone done) {
  const std::uint64_t number = ++last_call_;
  call(number, protocol::RenderTemplate{number, std::move(messages)},
       [done = std::move(done)](std::optional<Error> error, const protocol::EncodedText*,
                                const protocol::DecodedText* decoded) {
         done(std::move(error), decoded ? decoded->text : "");
       });
}

void TextService::call(std::uint64_t number, const protocol::Message& message, Answered answered) {
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
  if (error) return loop_.post([error, answered = std::move(answered)] { answered(error, nullptr, nullptr); });
  calls_[number].push_back({loop_.now() + kTextTimeout, std::move(answered)});
  if (!expiry_) expiry_ = loop_.after(kExpiryInterval, [this] { expire(); });
}

void TextService::on_message(const protocol::Message& message) {
  if (const auto* encoded = std::get_if<protocol::EncodedText>(&message)) {
    answer(encoded->call, encoded->error, encoded->message, encoded, nullptr);
  } else if (const auto* decoded = std::get_if<protocol::DecodedText>(&message)) {
    answer(decoded->call, decoded->error, decoded->message, nullptr, decoded);
  }
}

void TextService::answer(std::uint64_t number, const std::optional<ErrorCode>& code, const std::string& message,
                         const protocol::EncodedText* encoded, const protocol::DecodedText* decoded) {
  const auto found = calls_.find(number);
  if (found == calls_.end()) return;  // it has expired
  const Answered answered = std::move(found->second.front().answered);
  found->second.pop_front();
  if (found->second.empty()) calls_.erase(found);
  if (code) return answered(Error(*code, message), nullptr, nullptr);
  answered(std::nullopt, encoded, decoded);
}

void TextService::on_group_lost(const std::string& why) {
  const auto lost = std::exchange(calls_, {});
  for (const auto& [number, queue] : lost) {
    for (const Call& call : queue) {
      call.answered(Error(ErrorCode::unavailable, "the worker group was lost: " + why), nullptr, nullptr);
    }
  }
}

void TextService::expire() {
  std::vector<Answered> expired;
  const auto now = loop_.now();
  for (auto call = calls_.begin(); call != calls_.end();) {
    if (call->second.front().deadline > now) {
      ++call;
      continue;
    }
    for (Call& late : call->second) expired.push_back(std::move(late.answered));
    call = calls_.erase(call);
  }
  expiry_ = calls_.empty() ? nullptr : loop_.after(kExpiryInterval, [this] { expire(); });
  for (const Answered& answered : expired) {
    answered(Error(ErrorCode::deadline_exceeded, "rank 0 did not answer a text call in time"), nullptr, nullptr);
  }
}

}  // namespace rotulus::coordinator
