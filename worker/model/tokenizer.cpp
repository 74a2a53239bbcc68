#include "worker/model/tokenizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "protocol/error.h"
#include "protocol/limits.h"
#include "worker/model/tokenizer/byte_alphabet.h"
#include "worker/model/tokenizer/byte_pair_encoder.h"
#include "worker/model/tokenizer/pre_tokenizer.h"
#include "worker/model/tokenizer/special_token_index.h"
#include "worker/model/tokenizer/splitter.h"
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

Error too_long(std::uint64_t offset) {
  return Error(ErrorCode::invalid_argument,
               fmt::format("the text at byte {} has no place to cut for more than {} bytes (one run of letters, spaces "
                           "or signs); break it up",
                           offset, kMaxPreTokenBytes));
}

// The bytes that tokens stand for, one after the other.
class TokenBytes {
 public:
  explicit TokenBytes(const tokenizer::Vocabulary& vocabulary) {
    offsets_.reserve(vocabulary.tokens.size() + 1);
    for (std::size_t id = 0; id < vocabulary.tokens.size(); ++id) {
      offsets_.push_back(bytes_.size());
      // Special tokens are spelled plainly, and so is one that has a character outside the alphabet.
      const bool is_spelled = vocabulary.types[id] == TokenType::normal || vocabulary.types[id] == TokenType::unused;
      const auto spelled = is_spelled ? tokenizer::spelled_bytes(vocabulary.tokens[id]) : std::nullopt;
      bytes_ += spelled ? *spelled : vocabulary.tokens[id];
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

}  // namespace

struct Tokenizer::State {
  explicit State(const tokenizer::Vocabulary& vocabulary)
      : pre_tokenizer(tokenizer::make_pre_tokenizer(vocabulary.pre_tokenizer)),
        encoder(vocabulary, pre_tokenizer.whole_tokens_first),
        specials(vocabulary),
        bytes(vocabulary),
        types(vocabulary.types),
        ends(find_ends(vocabulary)),
        eos(vocabulary.eos) {
    if (vocabulary.add_bos.value_or(pre_tokenizer.adds_bos)) bos = vocabulary.bos;
  }

  // Adds the ids of what `splitter` can hand out. `offset`: of the text fed last, for errors.
  void encode(tokenizer::Splitter& splitter, std::uint64_t offset, std::vector<TokenId>& ids) const {
    while (const auto pre_token = splitter.next()) {
      if (pre_token->size() > kMaxPreTokenBytes) throw too_long(offset + splitter.handed_out() - pre_token->size());
      encoder.encode(*pre_token, ids);
    }
  }

  tokenizer::PreTokenizer pre_tokenizer;
  tokenizer::BytePairEncoder encoder;
  tokenizer::SpecialTokenIndex specials;
  TokenBytes bytes;
  std::vector<TokenType> types;
  std::vector<bool> ends;
  std::optional<TokenId> bos;
  std::optional<TokenId> eos;
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
  return state_->encoder.missing_bytes();
}

std::vector<TokenId> Tokenizer::encode(std::string_view text, SpecialTokens special) const {
  std::vector<TokenId> ids;
  std::size_t offset = 0;
  const auto encode_text = [&](std::string_view part) {
    tokenizer::Splitter splitter(state_->pre_tokenizer);
    splitter.feed(part, true);
    state_->encode(splitter, offset, ids);
    offset += part.size();
  };
  if (special == SpecialTokens::parse) {
    while (const auto match = state_->specials.find_first(text.substr(offset))) {
      encode_text(text.substr(offset, match->offset));
      ids.push_back(match->id);
      offset += match->bytes;
    }
  }
  encode_text(text.substr(offset));
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
  for (const TokenId id : ids) text += bytes(id, special_text);
  return text;
}

struct TokenStream::State {
  explicit State(const Tokenizer::State& shared_state) : shared(shared_state), splitter(shared.pre_tokenizer) {}

  void encode(bool complete, std::vector<TokenId>& ids) {
    splitter.feed(pending, complete);
    shared.encode(splitter, offset, ids);
    offset += splitter.handed_out();
    pending.erase(0, splitter.handed_out());
    splitter.feed(pending, complete);  // its views have moved
    if (pending.size() > kMaxUndecidedBytes) throw too_long(offset);
    next_look_bytes = std::min(2 * pending.size(), kMaxUndecidedBytes + 1);
  }

  // A pre-token is decided by the one character after it.
  static constexpr std::size_t kMaxUndecidedBytes = kMaxPreTokenBytes + 4;

  const Tokenizer::State& shared;
  tokenizer::Splitter splitter;
  std::string pending;       // not yet handed out
  std::uint64_t offset = 0;  // of pending in everything that was appended
  std::size_t next_look_bytes = 0;
};

TokenStream::TokenStream(const Tokenizer& tokenizer) : state_(std::make_unique<State>(*tokenizer.state_)) {}
TokenStream::~TokenStream() = default;

void TokenStream::append(std::string_view piece, std::vector<TokenId>& ids) {
  constexpr std::size_t kSliceBytes = 1u << 20;  // bounds what is pending, however long the piece
  while (!piece.empty()) {
    const std::string_view slice = piece.substr(0, kSliceBytes);
    state_->pending += slice;
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
}

}  // namespace rotulus::worker
