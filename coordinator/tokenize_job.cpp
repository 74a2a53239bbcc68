#include "coordinator/tokenize_job.h"

#include <algorithm>

#include "coordinator/catalogue_records.h"
#include "protocol/limits.h"

namespace rotulus::coordinator {

using protocol::Error;
using protocol::ErrorCode;
using protocol::TokenId;

struct TokenizeJob::Run : std::enable_shared_from_this<Run> {
  Run(EventLoop& event_loop, TextService& text_service, Catalogue& store, Input what, Done callback)
      : loop(event_loop), texts(text_service), catalogue(store), input(std::move(what)), done(std::move(callback)) {}

  EventLoop& loop;
  TextService& texts;
  Catalogue& catalogue;
  const Input input;
  const Done done;
  const std::uint64_t call = texts.begin_document();
  std::uint64_t bytes_read = 0;
  std::uint64_t token_count = 0;
  std::uint32_t pieces_stored = 0;
  std::vector<TokenId> ids;  // not stored yet
  PrefixChain prefixes;
  bool is_begun = false;
  bool is_given = false;  // the whole document is with the tokenizer

  // What is asked of others comes back to a job that may be gone.
  template <typename Handler>
  auto if_alive(Handler handler) {
    return [alive = weak_from_this(), handler](auto&&... arguments) {
      if (const auto self = alive.lock()) handler(*self, std::forward<decltype(arguments)>(arguments)...);
    };
  }

  void begin();
  void read_piece();
  void give(std::string bytes);
  void take_ids(const std::vector<TokenId>& found, bool is_last);
  void check_vocabulary(const std::vector<TokenId>& found) const;
  void store_pieces();
  void go_on();
  void stop_tokenizer();
  void fail(const Error& error);
  void finish();
};

void TokenizeJob::Run::begin() {
  if (input.document.bytes == 0) return fail(Error(ErrorCode::invalid_argument, "the document is empty"));
  if (input.document.kind == SpoolKind::token_ids) {
    if (input.document.bytes % sizeof(TokenId) != 0) {
      return fail(Error(ErrorCode::invalid_argument,
                        fmt::format("input_ids has {} bytes, which is not a multiple of 4 (u32, little-endian)",
                                    input.document.bytes),
                        "input_ids"));
    }
    const std::uint64_t tokens = input.document.bytes / sizeof(TokenId);
    if (const auto error = check_document(input.kept, tokens, true, input.capacity)) return fail(*error);
  }
  read_piece();
}

void TokenizeJob::Run::read_piece() {
  auto bytes = std::make_shared<std::string>();
  const SpooledDocument document = input.document;
  const std::uint64_t offset = bytes_read;
  loop.in_background(
      [bytes, document, offset] { *bytes = read_spooled(document, offset, protocol::kTokenizePieceBytes); },
      if_alive([bytes](Run& self, const std::optional<Error>& error) {
        if (error) return self.fail(*error);
        self.bytes_read += bytes->size();
        self.is_given = self.bytes_read == self.input.document.bytes;
        self.give(std::move(*bytes));
      }));
}

void TokenizeJob::Run::give(std::string bytes) {
  if (input.document.kind == SpoolKind::token_ids) return take_ids(records::parse_token_ids(bytes), true);
  protocol::TokenizeDocument piece{.call = call, .is_first = !is_begun, .is_last = is_given};
  piece.frame = input.frame;
  piece.system = input.system;
  piece.bytes = std::move(bytes);
  is_begun = true;
  texts.tokenize(std::move(piece), if_alive([](Run& self, const std::optional<Error>& error,
                                               const std::vector<TokenId>& found, bool is_last) {
                   if (error) return self.fail(*error);
                   self.take_ids(found, is_last);
                 }));
}

// The ids of one piece of the document may come in parts.
void TokenizeJob::Run::take_ids(const std::vector<TokenId>& found, bool is_last) {
  try {
    check_vocabulary(found);
  } catch (const Error& error) {
    return fail(error);
  }
  token_count += found.size();
  ids.insert(ids.end(), found.begin(), found.end());
  prefixes.append(found);
  const bool is_counted = is_given && is_last;
  if (const auto error = check_document(input.kept, token_count, is_counted, input.capacity)) return fail(*error);
  if (!is_last) return;
  if (ids.size() > kTokenIdsPerPiece) return store_pieces();
  go_on();
}

void TokenizeJob::Run::check_vocabulary(const std::vector<TokenId>& found) const {
  const auto wrong = std::find_if(found.begin(), found.end(), [&](TokenId id) { return id >= input.vocabulary; });
  if (wrong == found.end()) return;
  throw Error(ErrorCode::invalid_argument,
              fmt::format("token {} at index {} is not in the model's vocabulary of {}", *wrong,
                          token_count + static_cast<std::uint64_t>(wrong - found.begin()), input.vocabulary),
              "input_ids");
}

// Whole pieces only, and never the last ids: finish() always has something to commit together with the count.
void TokenizeJob::Run::store_pieces() {
  CatalogueBatch batch;
  std::size_t stored = 0;
  while (ids.size() - stored > kTokenIdsPerPiece) {
    batch.put_token_ids(input.context, pieces_stored++, std::span(ids).subspan(stored, kTokenIdsPerPiece));
    stored += kTokenIdsPerPiece;
  }
  ids.erase(ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(stored));
  catalogue.commit(std::move(batch), Catalogue::Kind::record,
                   if_alive([](Run& self, const std::optional<Error>& error) {
                     if (error) return self.fail(*error);
                     self.go_on();
                   }));
}

void TokenizeJob::Run::go_on() {
  if (!is_given) return read_piece();
  finish();
}

// The tokenizer holds the end of a document back until it is told that there is no more.
void TokenizeJob::Run::stop_tokenizer() {
  if (!is_begun || is_given) return;
  is_given = true;
  texts.tokenize({.call = call, .is_first = false, .is_last = true}, [](const auto&, const auto&, bool) {});
}

// Whoever is told may destroy the job, and with it the callback.
void TokenizeJob::Run::fail(const Error& error) {
  const Done callback = done;
  callback(error, {});
}

void TokenizeJob::Run::finish() {
  const Done callback = done;
  callback(std::nullopt, {.token_count = token_count,
                          .last_piece = pieces_stored,
                          .last_ids = std::move(ids),
                          .prefixes = std::move(prefixes)});
}

TokenizeJob::TokenizeJob(EventLoop& loop, TextService& texts, Catalogue& catalogue, Input input, Done done)
    : run_(std::make_shared<Run>(loop, texts, catalogue, std::move(input), std::move(done))) {
  loop.post(run_->if_alive([](Run& self) { self.begin(); }));
}

TokenizeJob::~TokenizeJob() {
  run_->stop_tokenizer();
}

}  // namespace rotulus::coordinator
