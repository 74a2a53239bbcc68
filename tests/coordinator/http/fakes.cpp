#include "tests/coordinator/http/fakes.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include <boost/asio/post.hpp>

namespace rotulus::coordinator::fakes {

using protocol::Error;
using protocol::ErrorCode;

void FakeContexts::create(NewContext context, std::function<void(std::optional<Error>, ContextView)> done) {
  if (next_create_error) return done(*std::exchange(next_create_error, std::nullopt), {});
  ContextView view;
  view.id = ContextId{next_id_++};
  view.description = std::move(context.description);
  view.description.created_at_unix_ms = 1'700'000'000'000;
  if (context.ttl) view.description.expires_at_unix_ms = 1'700'000'000'000 + 1000 * context.ttl->count();
  view.phase = "tokenizing";
  view.source_bytes = context.document.bytes;
  views_[view.id] = view;
  documents[view.id] = std::move(context.document);
  done(std::nullopt, view);
}

std::optional<ContextView> FakeContexts::find(ContextId id) const {
  const auto found = views_.find(id);
  return found == views_.end() ? std::nullopt : std::optional(found->second);
}

std::vector<ContextView> FakeContexts::list(std::optional<ContextId> after, std::size_t limit) const {
  std::vector<ContextView> views;
  for (auto it = views_.rbegin(); it != views_.rend() && views.size() < limit; ++it) {
    if (!after || it->first < *after) views.push_back(it->second);
  }
  return views;
}

ContextEstimate FakeContexts::estimate(std::uint64_t tokens, const KeptForRetrieval& asked) const {
  const bool is_long = tokens > 8191;
  ContextEstimate estimate{.tokens = tokens, .disk_bytes = 512 * tokens, .disk_bytes_free = 1'000'000'000};
  if (is_long && asked.mode != protocol::AttentionMode::exact) {
    estimate.retrieval = {protocol::kLandmarkVersion, 8192, 2048, asked.landmarks};
    estimate.landmark_bytes = 51 * tokens;
  }
  if (is_long && asked.mode == protocol::AttentionMode::exact) {
    estimate.obstacle = Error(ErrorCode::context_length_exceeded, "It is longer than the window.");
  }
  if (tokens < 100) estimate.seconds = 0.5;
  return estimate;
}

ContextView FakeContexts::cancel(ContextId id) {
  auto view = find(id);
  if (!view) throw Error(ErrorCode::not_found, fmt::format("There is no context {}.", protocol::to_string(id)));
  view->status = ContextStatus::cancelled;
  update(*view);
  return *view;
}

void FakeContexts::pin(ContextId id, std::function<void(std::optional<Error>, ContextView)> done) {
  auto view = find(id);
  if (!view) return done(Error(ErrorCode::not_found, "There is no such context."), {});
  view->description.expires_at_unix_ms = 0;
  update(*view);
  done(std::nullopt, *view);
}

ContextView FakeContexts::verify(ContextId id) {
  auto view = find(id);
  if (!view) throw Error(ErrorCode::not_found, fmt::format("There is no context {}.", protocol::to_string(id)));
  view->verification = VerificationView{.chunks_total = 3, .chunks_read = 1, .blocks_verified = 12};
  update(*view);
  return *view;
}

// Grows by the bytes of the text; only what is completed does.
void FakeContexts::append(ContextId id, std::string text, ViewDone done) {
  auto view = find(id);
  if (!view) return done(Error(ErrorCode::not_found, "There is no such context."), {});
  if (view->status != ContextStatus::completed) return done(Error(ErrorCode::conflict, "It is not completed."), {});
  view->status = ContextStatus::in_progress;
  view->source_bytes += text.size();
  update(*view);
  done(std::nullopt, *view);
}

void FakeContexts::fork(ContextId id, std::string text, ViewDone done) {
  auto view = find(id);
  if (!view) return done(Error(ErrorCode::not_found, "There is no such context."), {});
  view->id = ContextId{next_id_++};
  view->source_bytes += text.size();
  update(*view);
  done(std::nullopt, *view);
}

namespace {

class FakeExport final : public ContextExport {
 public:
  FakeExport(FakeContexts& owner, std::string file) : owner_(owner), file_(std::move(file)) { ++owner_.transfers; }
  ~FakeExport() override { --owner_.transfers; }
  void next(std::function<void(std::optional<Error>, std::string)> done) override {
    if (owner_.export_fails_behind && pieces_++ == *owner_.export_fails_behind) {
      return done(Error(ErrorCode::storage_corrupt, "A chunk is damaged."), {});
    }
    std::string piece = file_.substr(0, 1000);
    file_.erase(0, piece.size());
    done(std::nullopt, std::move(piece));
  }

 private:
  FakeContexts& owner_;
  std::string file_;
  std::size_t pieces_ = 0;
};

class FakeImport final : public ContextImport {
 public:
  FakeImport(FakeContexts& owner, ImportRequest request) : owner_(owner), request_(std::move(request)) {
    ++owner_.transfers;
  }
  ~FakeImport() override { --owner_.transfers; }
  void take(std::string_view piece, std::function<void(std::optional<Error>)> done) override {
    file_ += piece;
    const bool is_damaged = file_.find("damaged") != std::string::npos;
    done(is_damaged ? std::optional(Error(ErrorCode::storage_corrupt, "It is damaged at byte 7.")) : std::nullopt);
  }
  void finish(std::function<void(std::optional<Error>, ContextView)> done) override {
    ContextView view{.id = ContextId{900}, .status = ContextStatus::completed};
    view.description.display_name = request_.display_name.value_or(file_.substr(0, file_.find(',')));
    view.description.metadata_json = file_.find("bad metadata") == std::string::npos ? "{}" : "{\"a\":";
    view.source_bytes = file_.size();
    try {
      request_.check(view.description);
    } catch (const Error& error) {
      return done(error, {});
    }
    owner_.update(view);
    done(std::nullopt, view);
  }

 private:
  FakeContexts& owner_;
  ImportRequest request_;
  std::string file_;
};

}  // namespace

std::unique_ptr<ContextExport> FakeContexts::begin_export(ContextId id) {
  const auto view = find(id);
  if (!view) throw Error(ErrorCode::not_found, "There is no such context.");
  std::string file = fmt::format("file of {}, ", view->description.display_name);
  file.resize(file.size() + view->source_bytes, 'x');
  return std::make_unique<FakeExport>(*this, std::move(file));
}

std::unique_ptr<ContextImport> FakeContexts::begin_import(ImportRequest request) {
  return std::make_unique<FakeImport>(*this, std::move(request));
}

void FakeContexts::erase(ContextId id, std::function<void(std::optional<Error>)> done) {
  if (views_.erase(id) == 0) {
    return done(Error(ErrorCode::not_found, fmt::format("There is no context {}.", protocol::to_string(id))));
  }
  documents.erase(id);
  done(std::nullopt);
}

std::shared_ptr<void> FakeContexts::subscribe(ContextId id, std::function<void(const ContextEvent&)> on_event) {
  const auto subscriber = std::make_shared<Subscriber>(Subscriber{id, std::move(on_event)});
  subscribers_.insert(subscriber);
  subscriber->on_event({sequence_, views_.at(id)});
  return std::shared_ptr<void>(nullptr, [this, subscriber](void*) { subscribers_.erase(subscriber); });
}

void FakeContexts::update(ContextView view) {
  views_[view.id] = view;
  ++sequence_;
  for (const auto& subscriber : subscribers_) {
    if (subscriber->id == view.id) subscriber->on_event({sequence_, view});
  }
}

const std::vector<std::string> FakeQueries::kWords = {"In",    " the", " beginning", " was",         " the",
                                                      " word", ",",    " and",       " caf\xC3\xA9", "."};

namespace {

std::string text_of(const QueryRequest& request) {
  if (const auto* text = std::get_if<std::string>(&request.prompt)) return *text;
  if (const auto* messages = std::get_if<std::vector<protocol::ChatMessage>>(&request.prompt)) {
    return messages->back().content;
  }
  return "";
}

struct Running : std::enable_shared_from_this<Running> {
  boost::asio::io_context& loop;
  FakeQueries& owner;
  QueryRequest request;
  QueryEvents events;
  std::string text;
  std::uint32_t index = 0;
  bool is_alive = true;

  Running(boost::asio::io_context& on, FakeQueries& queries, QueryRequest asked, QueryEvents to)
      : loop(on), owner(queries), request(std::move(asked)), events(std::move(to)), text(text_of(request)) {}

  QueryUsage usage() const { return {.prompt_tokens = 30, .completion_tokens = index, .cached_tokens = 20}; }

  void end() {
    is_alive = false;
    --owner.running;
  }

  void post(void (Running::*step)()) {
    boost::asio::post(loop, [self = shared_from_this(), step] {
      if (self->is_alive) ((*self).*step)();
    });
  }

  void begin() {
    if (text == "wait") {
      events.on_waiting("the worker group is being replaced");
      return;
    }
    if (text.starts_with("fail ") && text != "fail later") {
      end();
      static const std::map<std::string, ErrorCode> kCodes = {
          {"fail not_found", ErrorCode::not_found},
          {"fail conflict", ErrorCode::conflict},
          {"fail unavailable", ErrorCode::unavailable},
          {"fail context_length_exceeded", ErrorCode::context_length_exceeded}};
      return events.on_failed({Error(kCodes.at(text), "as asked for", "messages"), 9000});
    }
    owner.before_start();
    events.on_started(usage());
    if (!request.context) events.on_progress(10, 30);
    if (request.scores_prompt) say_prompt();
    post(&Running::step);
  }

  // Two tokens, the first behind nothing.
  void say_prompt() {
    protocol::AnswerToken token{.token = 50, .bytes = "To", .text = "To", .is_of_question = true};
    events.on_token(token);
    token = {.index = 1, .token = 51, .bytes = " be", .text = " be", .logprob = -0.5f, .is_of_question = true};
    if (request.sampling.logprobs > 0) token.top = {{.token = 52, .bytes = " go", .logprob = -0.25f}};
    events.on_token(token);
  }

  void say(const std::string& bytes, const std::string& shown) {
    protocol::AnswerToken token;
    token.index = index++;
    token.token = 100 + token.index;
    token.bytes = bytes;
    token.text = shown;
    token.logprob = -0.1f * static_cast<float>(token.index + 1);
    for (std::uint32_t i = 0; i < request.sampling.logprobs; ++i) {
      token.top.push_back(
          {.token = token.token + i, .bytes = i == 0 ? bytes : "x", .logprob = token.logprob - static_cast<float>(i)});
    }
    events.on_token(token);
  }

  void finish(protocol::FinishReason reason, const std::string& rest) {
    end();
    QueryResult result{.reason = reason, .rest_of_text = rest, .usage = usage()};
    result.timings = {.queue_ms = 1.5, .prompt_ms = 10, .predicted_ms = 20};
    result.attention.context_tokens = result.attention.attended_tokens = 20;
    if (request.attention.mode == protocol::AttentionMode::retrieval) {
      result.attention = {
          .mode = protocol::AttentionMode::retrieval, .context_tokens = 90'000, .attended_tokens = 2688};
      result.attention.second_pass = request.attention.second_pass;
      result.attention.pinned_pages = request.attention.second_pass ? 96 : 0;
      result.attention.blocks_read = 750;
      if (request.attention.reread_tokens > 0) result.reread = {{{0, 128}, {4096, 4144}}, 176};
      result.attention.landmark = request.attention.landmark;
      if (request.attention.wants_missed_mass) {
        result.attention.missed_mass = {0.25f,  0.5f,    request.attention.audits,
                                        0.125f, 0.75f,   request.attention.landmark == protocol::PageLandmark::bounds,
                                        0.875f, 0.9375f, 0.625f};
      }
    }
    if (request.attention.wants_provenance) {
      result.provenance = {{{4096, 4144}, 0.75f, "a lighthouse"}, {{16, 32}, 0.25f, "caf\xC3"}};
    }
    events.on_finished(result);
  }

  void step() {
    const auto& words = FakeQueries::kWords;
    if (text == "flood") {
      for (int i = 0; i < 64; ++i) say(std::string(256, 'a'), std::string(256, 'a'));
      return post(&Running::step);
    }
    if (text == "split") {
      say("\xC3", "");
      say("\xA9", "\xC3\xA9");
      return finish(protocol::FinishReason::stop, "held back");
    }
    if (text == "fail later" && index == 3) {
      end();
      return events.on_failed({Error(ErrorCode::unavailable, "No worker group came back in 30 s.")});
    }
    if (request.max_tokens && index == *request.max_tokens) return finish(protocol::FinishReason::length, "");
    if (index == words.size()) return finish(protocol::FinishReason::stop, "");
    say(words[index], words[index]);
    post(&Running::step);
  }
};

struct Handle final : Query {
  explicit Handle(std::shared_ptr<Running> of) : running(std::move(of)) {}
  ~Handle() override {
    if (!running->is_alive) return;
    running->end();
    ++running->owner.cancelled;
  }
  std::shared_ptr<Running> running;
};

}  // namespace

std::unique_ptr<Query> FakeQueries::start(QueryRequest request, QueryEvents events) {
  last = request;
  if (!events.on_started) events.on_started = [](const QueryUsage&) {};
  if (!events.on_progress) events.on_progress = [](std::uint64_t, std::uint64_t) {};
  if (!events.on_token) events.on_token = [](const protocol::AnswerToken&) {};
  if (!events.on_waiting) events.on_waiting = [](const std::string&) {};
  ++running;
  const auto query = std::make_shared<Running>(loop_, *this, std::move(request), std::move(events));
  if (query->request.context && !contexts_.find(*query->request.context)) {
    query->end();
    query->events.on_failed({Error(ErrorCode::not_found, "There is no such context.", "context_id")});
  } else {
    query->post(&Running::begin);
  }
  return std::make_unique<Handle>(query);
}

FakeCluster::FakeCluster() {
  state.is_ready = true;
  state.state = "ready";
  state.epoch = protocol::Epoch{3};
  state.store = protocol::StoreId{0xABCD};
  state.model = protocol::ModelFacts{.name = "toy",
                                     .architecture = "llama",
                                     .chat_template = "chatml",
                                     .context_length = 8192,
                                     .trained_length = 4096,
                                     .vocabulary = 259,
                                     .layers = 2,
                                     .parameter_count = 1000,
                                     .file_bytes = 4000,
                                     .kv = {.token_bytes = 512}};
  state.parameters = protocol::ContextParameters{
      .model_fingerprint = std::string(64, 'a'), .kv_type = "f16", .numerics_id = "scalar-1"};
  RankView rank;
  rank.host = "here";
  rank.pid = 42;
  rank.threads = 2;
  rank.lanes = {0, 256};
  rank.volumes.push_back({.volume = protocol::VolumeId{7}, .store = state.store, .path = "/store", .bytes_used = 5});
  rank.rates = {{"fma_f32", 1, 1.5e9}, {"read", 2, 2e9}};
  state.ranks.push_back(rank);
}

void FakeCluster::encode(protocol::EncodeText request, IdsDone done) {
  if (!state.is_ready) return done(Error(ErrorCode::unavailable, "No worker group is ready."), {});
  std::string text = request.text;
  for (const auto& message : request.messages) text += message.content;
  std::vector<protocol::TokenId> ids;
  if (request.kind == protocol::EncodeText::Kind::prompt) ids.push_back(1);
  for (const char c : text) ids.push_back(static_cast<unsigned char>(c) + 3u);
  done(std::nullopt, std::move(ids));
}

void FakeCluster::decode(std::vector<protocol::TokenId> ids, PiecesDone done) {
  std::string text;
  std::vector<std::string> pieces;
  for (const protocol::TokenId id : ids) {
    pieces.push_back(id < 3 ? "" : std::string(1, static_cast<char>(id - 3)));
    text += pieces.back();
  }
  done(std::nullopt, std::move(text), std::move(pieces));
}

void FakeCluster::count(protocol::TokenizeDocument piece, CountDone done) {
  if (!state.is_ready) return done(Error(ErrorCode::unavailable, "No worker group is ready."), 0);
  const bool opens_frame = piece.is_first && piece.frame == protocol::Frame::chat;
  if (piece.is_last) ++counts_ended;
  done(std::nullopt, piece.bytes.size() + (opens_frame ? 2 : 0));
}

void FakeCluster::render(std::vector<protocol::ChatMessage> messages, TextDone done) {
  std::string text;
  for (const auto& message : messages) text += fmt::format("<{}>{}", message.role, message.content);
  done(std::nullopt, std::move(text));
}

}  // namespace rotulus::coordinator::fakes
