#include "worker/model/tokenizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "protocol/error.h"
#include "protocol/limits.h"
#include "worker/model/tokenizer/encoder.h"
#include "worker/model/tokenizer/special_token_index.h"
#include "worker/model/tokenizer/vocabulary.h"

namespace rotulus::worker {
namespace {

using protocol::Error;
using protocol::ErrorCode;
using protocol::kMaxPreTokenBytes;
using tokenizer::TokenType;

// Control tokens that end an answer, by the names that model families give them: files often mark but one as eos.
constexpr std::string_view kEndMarks[] = {
    "</s>",       "<EOT>",           "_<EOT>",        "[EOT]",      "<end_of_turn>",
    "<|call|>",   "<|end_of_text|>", "<|endoftext|>", "<|end|>",    "<end_of_utterance>",
    "<|eom_id|>", "<|eot_id|>",      "<|im_end|>",    "<|return|>", "<｜end▁of▁sentence｜>",
};

// The bytes that tokens stand for, one after the other.
class TokenBytes {
 public:
  explicit TokenBytes(const tokenizer::Vocabulary& vocabulary) {
    offsets_.reserve(vocabulary.tokens.size() + 1);
    for (std::size_t id = 0; id < vocabulary.tokens.size(); ++id) {
      offsets_.push_back(bytes_.size());
      bytes_ += tokenizer::token_bytes(vocabulary, static_cast<TokenId>(id));
    }
    offsets_.push_back(bytes_.size());
  }

  std::string_view operator[](TokenId id) const {
    return std::string_view(bytes_).substr(offsets_[id], offsets_[id + 1] - offsets_[id]);
  }

 private:
  std::string bytes_;
  std::vector<std::size_t> offsets_;
};

std::vector<bool> find_ends(const tokenizer::Vocabulary& vocabulary) {
  std::vector<bool> ends(vocabulary.tokens.size());
  if (vocabulary.eos) ends[*vocabulary.eos] = true;
  for (const TokenId id : vocabulary.other_ends) ends[id] = true;
  for (std::size_t id = 0; id < vocabulary.tokens.size(); ++id)
    if (vocabulary.types[id] == TokenType::control &&
        std::find(std::begin(kEndMarks), std::end(kEndMarks), vocabulary.tokens[id]) != std::end(kEndMarks))
      ends[id] = true;
  return ends;
}

// User-defined tokens that are found in any text are the encoder's business.
tokenizer::SpecialTokenIndex index_specials(const tokenizer::Vocabulary& vocabulary) {
  return tokenizer::SpecialTokenIndex(vocabulary, [&](TokenId id) {
    const TokenType type = vocabulary.types[id];
    return type == TokenType::control || (type == TokenType::user_defined && !is_found_in_text(vocabulary, id));
  });
}

}  // namespace

struct Tokenizer::State {
  explicit State(const tokenizer::Vocabulary& vocabulary)
      : encoder(tokenizer::make_encoder(vocabulary)),
        specials(index_specials(vocabulary)),
        bytes(vocabulary),
        types(vocabulary.types),
        ends(find_ends(vocabulary)),
        named_bos(vocabulary.bos),
        eos(vocabulary.eos),
        adds_space(vocabulary.adds_space),
        swallows_space(vocabulary.swallows_space) {
    if (vocabulary.add_bos.value_or(encoder->adds_bos())) bos = vocabulary.bos;
  }

  std::unique_ptr<tokenizer::Encoder> encoder;
  tokenizer::SpecialTokenIndex specials;
  TokenBytes bytes;
  std::vector<TokenType> types;
  std::vector<bool> ends;
  std::optional<TokenId> bos;  // where it is added to text
  std::optional<TokenId> named_bos;
  std::optional<TokenId> eos;
  bool adds_space;  // before a text's beginning
  bool swallows_space;
};

Tokenizer::Tokenizer(const GgufFile& file) : Tokenizer(tokenizer::read_vocabulary(file)) {}
Tokenizer::Tokenizer(const tokenizer::Vocabulary& vocabulary) : state_(std::make_unique<State>(vocabulary)) {}
Tokenizer::~Tokenizer() = default;

std::uint32_t Tokenizer::vocabulary_size() const {
  return static_cast<std::uint32_t>(state_->types.size());
}
std::optional<TokenId> Tokenizer::bos() const {
  return state_->bos;
}
std::optional<TokenId> Tokenizer::eos() const {
  return state_->eos;
}
std::string_view Tokenizer::bos_text() const {
  return state_->named_bos ? state_->bytes[*state_->named_bos] : std::string_view();
}
std::string_view Tokenizer::eos_text() const {
  return state_->eos ? state_->bytes[*state_->eos] : std::string_view();
}
bool Tokenizer::swallows_space_after(TokenId id) const {
  return state_->swallows_space && state_->types[id] == TokenType::control && id != state_->named_bos &&
         state_->bytes[id] != "<|endoftext|>";
}
bool Tokenizer::ends_generation(TokenId id) const {
  return id < state_->ends.size() && state_->ends[id];
}
std::optional<TokenId> Tokenizer::find_special(std::string_view text) const {
  return state_->specials.find(text);
}

std::optional<SpecialMatch> Tokenizer::find_first_special(std::string_view text) const {
  return state_->specials.find_first(text);
}

std::string_view Tokenizer::missing_bytes() const {
  return state_->encoder->missing_bytes();
}

std::vector<TokenId> Tokenizer::encode(std::string_view text, SpecialTokens special, TextStart start) const {
  std::vector<TokenId> ids;
  TokenStream stream(*this, start);
  if (special == SpecialTokens::parse) {
    while (const auto match = state_->specials.find_first(text)) {
      stream.append(text.substr(0, match->offset), ids);
      stream.append_special(match->id, ids);
      text.remove_prefix(match->offset + match->bytes);
    }
  }
  stream.append(text, ids);
  stream.finish(ids);
  return ids;
}

std::string_view Tokenizer::bytes(TokenId id, bool special_text) const {
  if (id >= vocabulary_size())
    throw Error(ErrorCode::invalid_argument,
                fmt::format("token id {} is not in the vocabulary of {} tokens", id, vocabulary_size()));
  const TokenType type = state_->types[id];
  const bool is_silent = type == TokenType::control || type == TokenType::unknown;
  return is_silent && !special_text ? std::string_view() : state_->bytes[id];
}

std::string Tokenizer::decode(const std::vector<TokenId>& ids, bool special_text) const {
  std::string text;
  bool is_beginning = true;
  for (const TokenId id : ids) {
    std::string_view piece = bytes(id, special_text);
    const bool is_text = state_->types[id] != TokenType::control;
    if (state_->adds_space && is_beginning && is_text && piece.starts_with(' ')) piece.remove_prefix(1);
    is_beginning = !is_text;
    text += piece;
  }
  return text;
}

struct TokenStream::State {
  State(const Tokenizer::State& shared_state, TextStart text_start)
      : shared(shared_state), cutter(shared.encoder->make_cutter()), start(text_start) {}

  void add(std::string_view slice) {
    if (shared.adds_space && start == TextStart::beginning) {
      pending = ' ';
      --offset;
    }
    start = TextStart::continuation;
    pending += slice;
  }

  void encode(bool complete, std::vector<TokenId>& ids) {
    cutter->feed(pending, complete);
    while (const auto pre_token = cutter->next()) {
      if (pre_token->size() > kMaxPreTokenBytes) throw_too_long(offset + cutter->handed_out() - pre_token->size());
      shared.encoder->encode(*pre_token, ids);
    }
    offset += cutter->handed_out();
    pending.erase(0, cutter->handed_out());
    cutter->feed(pending, complete);  // its views have moved
    if (pending.size() > kMaxUndecidedBytes) throw_too_long(offset);
    next_look_bytes = std::min(2 * pending.size(), kMaxUndecidedBytes + 1);
  }

  [[noreturn]] static void throw_too_long(std::uint64_t at) {
    throw Error(
        ErrorCode::invalid_argument,
        fmt::format("the text at byte {} has no place to cut for more than {} bytes (one run of letters, spaces "
                    "or signs); break it up",
                    at == kBeforeText ? 0 : at, kMaxPreTokenBytes));
  }

  // A pre-token is decided by the one character after it.
  static constexpr std::size_t kMaxUndecidedBytes = kMaxPreTokenBytes + 4;
  static constexpr std::uint64_t kBeforeText = UINT64_MAX;  // where the space stands that was put before the text

  const Tokenizer::State& shared;
  std::unique_ptr<tokenizer::Cutter> cutter;
  TextStart start;
  std::string pending;       // not yet handed out
  std::uint64_t offset = 0;  // of pending in everything that was appended
  std::size_t next_look_bytes = 0;
};

TokenStream::TokenStream(const Tokenizer& tokenizer, TextStart start)
    : state_(std::make_unique<State>(*tokenizer.state_, start)) {}
TokenStream::~TokenStream() = default;

void TokenStream::append(std::string_view piece, std::vector<TokenId>& ids) {
  constexpr std::size_t kSliceBytes = 1u << 20;  // bounds what is pending, however long the piece
  while (!piece.empty()) {
    const std::string_view slice = piece.substr(0, kSliceBytes);
    state_->add(slice);
    piece.remove_prefix(slice.size());
    if (state_->pending.size() >= state_->next_look_bytes) state_->encode(false, ids);
  }
}

void TokenStream::append_special(TokenId id, std::vector<TokenId>& ids) {
  finish(ids);
  ids.push_back(id);
}

void TokenStream::finish(std::vector<TokenId>& ids) {
  state_->encode(true, ids);
  CHECK(state_->pending.empty(), state_->pending.size());
  state_->start = TextStart::beginning;
}

}  // namespace rotulus::worker
