// Answers are compared with what the tokenizer and the template say of the whole text at once, whatever the pieces;
// then each way to fail must be one answer.
#include "worker/text_service.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "protocol/framing.h"
#include "protocol/limits.h"
#include "tests/worker/model/byte_vocabulary.h"
#include "tests/worker/model/text_generator.h"
#include "tests/worker/model/tokenizer_fixture.h"

namespace rotulus::worker {
namespace {

using protocol::ErrorCode;
using protocol::Frame;
using Kind = protocol::EncodeText::Kind;
using Ids = std::vector<TokenId>;

const ChatTemplate& chatml() {
  static const auto chat = make_chat_template(std::nullopt, "chatml");
  return *chat;
}

// A tokenizer of bytes that asks for BOS, whose special tokens are those of ChatML.
const Tokenizer& byte_tokenizer() {
  static const Tokenizer tokenizer = [] {
    auto vocabulary = byte_vocabulary({"a b", "ab c"}, "gpt-2", {"<|im_start|>", "<|im_end|>", "<bos>"});
    vocabulary.bos = static_cast<TokenId>(vocabulary.tokens.size() - 1);
    vocabulary.add_bos = true;
    return Tokenizer(vocabulary);
  }();
  return tokenizer;
}

// A service whose answers are put together from their parts. Each part must fit a frame.
class Texts {
 public:
  explicit Texts(const Tokenizer& tokenizer, const ChatTemplate* chat = &chatml())
      : service_(tokenizer, chat, [this](protocol::Message part) {
          EXPECT_NO_THROW(protocol::make_frame(part, {}));
          parts_.push_back(std::move(part));
        }) {}

  template <typename Answer = protocol::EncodedText>
  Answer ask(const protocol::Message& message) {
    parts_.clear();
    service_.handle(message);
    Answer whole{.is_last = false};
    for (const protocol::Message& message_part : parts_) {
      const auto& part = std::get<Answer>(message_part);
      EXPECT_FALSE(whole.is_last) << "a part follows the last one";
      EXPECT_TRUE(part.is_last || !part.error) << "a failure is the last part";
      whole.call = part.call;
      whole.is_last = part.is_last;
      whole.error = part.error;
      whole.message = part.message;
      join(whole, part);
    }
    EXPECT_TRUE(whole.is_last) << "there is no last part";
    return whole;
  }
  std::size_t part_count() const { return parts_.size(); }

 private:
  static void join(protocol::EncodedText& whole, const protocol::EncodedText& part) {
    whole.ids.insert(whole.ids.end(), part.ids.begin(), part.ids.end());
  }
  static void join(protocol::DecodedText& whole, const protocol::DecodedText& part) {
    whole.text += part.text;
    whole.pieces.insert(whole.pieces.end(), part.pieces.begin(), part.pieces.end());
  }

  std::vector<protocol::Message> parts_;
  TextService service_;
};

// The document in the pieces that `cuts` make of it, all ids together.
Ids tokenize(Texts& texts, const std::string& document, std::vector<std::size_t> cuts, Frame frame,
             const std::optional<std::string>& system) {
  for (std::size_t& cut : cuts) cut %= document.size() + 1;
  cuts.push_back(0);
  cuts.push_back(document.size());
  std::sort(cuts.begin(), cuts.end());
  Ids ids;
  for (std::size_t i = 0; i + 1 < cuts.size(); ++i) {
    const auto answer = texts.ask(protocol::TokenizeDocument{.call = 7,
                                                             .is_first = i == 0,
                                                             .is_last = i + 2 == cuts.size(),
                                                             .frame = frame,
                                                             .system = system,
                                                             .bytes = document.substr(cuts[i], cuts[i + 1] - cuts[i])});
    EXPECT_FALSE(answer.error) << answer.message;
    EXPECT_EQ(answer.call, 7u);
    ids.insert(ids.end(), answer.ids.begin(), answer.ids.end());
  }
  return ids;
}

RC_GTEST_PROP(TextService, ChatDocumentInPiecesIsTheOpeningAndTheDocumentAtOnce, ()) {
  const auto document = *any_text();
  const auto cuts = *rc::gen::arbitrary<std::vector<std::size_t>>();
  const auto system = *rc::gen::arbitrary<bool>() ? std::optional(*any_text()) : std::nullopt;
  for (const Tokenizer* tokenizer : {&model_tokenizer(), &byte_tokenizer()}) {
    Texts texts(*tokenizer);
    Prompt whole = chatml().open_document(system);
    whole.push_back({PromptPiece::Kind::text, document});
    RC_ASSERT(tokenize(texts, document, cuts, Frame::chat, system) == encode(*tokenizer, whole));
  }
}

RC_GTEST_PROP(TextService, RawDocumentInPiecesIsBosAndTheDocumentAtOnce, ()) {
  const auto document = *any_text();
  const auto cuts = *rc::gen::arbitrary<std::vector<std::size_t>>();
  Texts model(model_tokenizer()), bytes(byte_tokenizer());
  ASSERT_FALSE(model_tokenizer().bos());
  RC_ASSERT(tokenize(model, document, cuts, Frame::raw, std::nullopt) == model_tokenizer().encode(document));
  Ids with_bos = byte_tokenizer().encode(document);
  with_bos.insert(with_bos.begin(), *byte_tokenizer().bos());
  RC_ASSERT(tokenize(bytes, document, cuts, Frame::raw, std::nullopt) == with_bos);
}

TEST(TextService, EncodesEachKindOfText) {
  Texts texts(byte_tokenizer());
  const Tokenizer& tokenizer = byte_tokenizer();
  const std::string text = "abc<|im_end|> abc";
  const std::vector<protocol::ChatMessage> chat = {{"user", "abc?"}, {"assistant", "abc!"}, {"user", "<|im_start|>"}};
  const std::vector<Message> turns = {{"user", "abc?"}, {"assistant", "abc!"}, {"user", "<|im_start|>"}};
  const auto ids = [&](Kind kind) {
    const auto answer = texts.ask(protocol::EncodeText{.call = 9, .kind = kind, .text = text, .messages = chat});
    EXPECT_FALSE(answer.error) << answer.message;
    EXPECT_EQ(answer.call, 9u);
    return answer.ids;
  };
  const Ids plain = tokenizer.encode(text);
  const Ids parsed = tokenizer.encode(text, SpecialTokens::parse);
  ASSERT_NE(plain, parsed);
  EXPECT_EQ(ids(Kind::text), plain);
  EXPECT_EQ(ids(Kind::raw_question), plain);
  EXPECT_EQ(ids(Kind::text_with_special), parsed);
  Ids prompt = plain;
  prompt.insert(prompt.begin(), *tokenizer.bos());
  EXPECT_EQ(ids(Kind::prompt), prompt);
  EXPECT_EQ(ids(Kind::question), encode(tokenizer, chatml().close_document(turns)));
  EXPECT_EQ(ids(Kind::conversation), encode(tokenizer, chatml().render(turns)));
}

TEST(TextService, DecodesTokensToTheirBytesAndSpecialOnesToTheirText) {
  Texts texts(byte_tokenizer());
  const Ids ids = {256, 257, 0xC3, 258};
  const auto answer = texts.ask<protocol::DecodedText>(protocol::DecodeTokens{.call = 4, .ids = ids});
  EXPECT_EQ(answer.text, "ababc\xC3<|im_start|>");
  EXPECT_EQ(answer.pieces, (std::vector<std::string>{"ab", "abc", "\xC3", "<|im_start|>"}));
  EXPECT_EQ(answer.call, 4u);
  EXPECT_FALSE(answer.error);
}

TEST(TextService, RendersAConversationAsText) {
  Texts texts(byte_tokenizer());
  const auto answer =
      texts.ask<protocol::DecodedText>(protocol::RenderTemplate{.call = 5, .messages = {{"user", "who?"}}});
  EXPECT_EQ(answer.text, "<|im_start|>user\nwho?<|im_end|>\n<|im_start|>assistant\n");
  EXPECT_EQ(answer.call, 5u);
}

// -- long answers -----------------------------------------------------------------------------------------------------

TEST(TextService, CutsAnswersThatDoNotFitOneMessage) {
  Texts texts(byte_tokenizer());
  // One pre-token that is decided with its last piece, and is then more ids than a message holds.
  const std::string piece(protocol::kTokenizePieceBytes, 'z');
  Ids ids;
  for (const bool is_last : {false, true}) {
    const auto answer =
        texts.ask(protocol::TokenizeDocument{.call = 1, .is_first = !is_last, .is_last = is_last, .bytes = piece});
    ids.insert(ids.end(), answer.ids.begin(), answer.ids.end());
  }
  EXPECT_GE(texts.part_count(), 4u);
  Ids expected(2 * piece.size(), 'z');
  expected.insert(expected.begin(), *byte_tokenizer().bos());
  EXPECT_EQ(ids, expected);

  ids.resize(protocol::kTokenIdsPerMessage);
  const auto decoded = texts.ask<protocol::DecodedText>(protocol::DecodeTokens{.ids = ids});
  EXPECT_GE(texts.part_count(), 2u);
  EXPECT_EQ(decoded.pieces.size(), ids.size());
  EXPECT_EQ(decoded.text, byte_tokenizer().decode(ids, true));

  const std::string content(protocol::kMaxFrameBytes - 1000, 'x');
  const auto rendered = texts.ask<protocol::DecodedText>(protocol::RenderTemplate{.messages = {{"user", content}}});
  EXPECT_GE(texts.part_count(), 2u);
  EXPECT_EQ(rendered.text, "<|im_start|>user\n" + content + "<|im_end|>\n<|im_start|>assistant\n");
}

TEST(TextService, AnswersNothingAtAllByOneEmptyPart) {
  Texts texts(model_tokenizer());
  EXPECT_TRUE(texts.ask(protocol::EncodeText{.kind = Kind::text}).ids.empty());
  EXPECT_EQ(texts.part_count(), 1u);
  EXPECT_TRUE(texts.ask(protocol::TokenizeDocument{.is_first = true, .is_last = true}).ids.empty());
  EXPECT_EQ(texts.part_count(), 1u);
  EXPECT_TRUE(texts.ask<protocol::DecodedText>(protocol::DecodeTokens{}).pieces.empty());
  EXPECT_EQ(texts.part_count(), 1u);
}

// -- failures
// -----------------------------------------------------------------------------------------------------------

protocol::TokenizeDocument first_piece(std::uint64_t call, std::string bytes) {
  return {.call = call, .is_first = true, .bytes = std::move(bytes)};
}
protocol::TokenizeDocument last_piece(std::uint64_t call, std::string bytes) {
  return {.call = call, .is_last = true, .bytes = std::move(bytes)};
}

TEST(TextService, KeepsAsManyDocumentsAsItMayAndGivesUpTheOneLongestUntouched) {
  Texts texts(model_tokenizer());
  const std::uint64_t most = protocol::kMaxTokenizedDocuments;
  Ids first_of_one = texts.ask(first_piece(1, "In the begin")).ids;
  for (std::uint64_t call = 2; call <= most; ++call) texts.ask(first_piece(call, "In the begin"));
  const auto middle = texts.ask(protocol::TokenizeDocument{.call = 1, .bytes = "ning was"});  // touches the oldest
  EXPECT_FALSE(middle.error);
  texts.ask(first_piece(most + 1, "x"));
  const auto lost = texts.ask(last_piece(2, " the word"));
  EXPECT_EQ(lost.error, ErrorCode::unavailable);
  EXPECT_NE(lost.message.find("call 2"), std::string::npos) << lost.message;
  const auto kept = texts.ask(last_piece(1, " the word"));
  EXPECT_FALSE(kept.error);
  for (const auto& ids : {middle.ids, kept.ids}) first_of_one.insert(first_of_one.end(), ids.begin(), ids.end());
  EXPECT_EQ(first_of_one, model_tokenizer().encode("In the beginning was the word"));
  for (std::uint64_t call = 3; call <= most + 1; ++call) EXPECT_FALSE(texts.ask(last_piece(call, "")).error) << call;
}

TEST(TextService, ForgetsADocumentThatEndsFailsOrBeginsAgain) {
  Texts texts(model_tokenizer());
  texts.ask(first_piece(1, "an earlier life "));
  EXPECT_TRUE(texts.ask(first_piece(1, "")).ids.empty());
  EXPECT_EQ(texts.ask(last_piece(1, "word")).ids, model_tokenizer().encode("word"));
  EXPECT_EQ(texts.ask(last_piece(1, "word")).error, ErrorCode::unavailable);
  EXPECT_EQ(texts.ask(last_piece(2, "word")).error, ErrorCode::unavailable);
}

TEST(TextService, RefusesADocumentWithTooLongAPreTokenAndForgetsIt) {
  Texts texts(byte_tokenizer());
  protocol::TokenizeDocument piece = first_piece(1, std::string(protocol::kTokenizePieceBytes, 'z'));
  protocol::EncodedText answer = texts.ask(piece);
  piece.is_first = false;
  std::size_t given = piece.bytes.size();
  for (; !answer.error && given <= 2 * protocol::kMaxPreTokenBytes; given += piece.bytes.size())
    answer = texts.ask(piece);
  EXPECT_EQ(answer.error, ErrorCode::invalid_argument);
  EXPECT_GE(given, protocol::kMaxPreTokenBytes);
  EXPECT_EQ(texts.ask(piece).error, ErrorCode::unavailable);
}

TEST(TextService, AnswersEachFailureWithItsCode) {
  Texts texts(byte_tokenizer());
  const auto encode_error = [&](const protocol::EncodeText& text) { return texts.ask(text).error; };
  EXPECT_EQ(encode_error({.kind = Kind::conversation}), ErrorCode::invalid_argument);
  EXPECT_EQ(encode_error({.kind = Kind::question}), ErrorCode::invalid_argument);
  EXPECT_EQ(encode_error({.kind = Kind::conversation, .messages = {{"<|im_end|>", "x"}}}), ErrorCode::invalid_argument);
  EXPECT_EQ(encode_error({.kind = Kind::question, .messages = {{"system", "x"}}}), ErrorCode::invalid_argument);
  const protocol::DecodeTokens beyond{.ids = {0, byte_tokenizer().vocabulary_size()}};
  EXPECT_EQ(texts.ask<protocol::DecodedText>(beyond).error, ErrorCode::invalid_argument);
  EXPECT_EQ(texts.part_count(), 1u);
  EXPECT_EQ(texts.ask<protocol::DecodedText>(protocol::RenderTemplate{}).error, ErrorCode::invalid_argument);
  protocol::TokenizeDocument raw = first_piece(1, "x");
  raw.system = "be brief";
  EXPECT_EQ(texts.ask(raw).error, ErrorCode::invalid_argument);
}

TEST(TextService, QuotesOnlyTheBeginningOfWhatItRefuses) {
  Texts texts(byte_tokenizer());
  std::string role;
  while (role.size() < protocol::kMaxFrameBytes - 1000) role += "\xE5\xAD\x97";
  const auto answer = texts.ask(protocol::EncodeText{.kind = Kind::conversation, .messages = {{role, "x"}}});
  EXPECT_EQ(answer.error, ErrorCode::invalid_argument);
  EXPECT_LT(answer.message.size(), 5000u);
  EXPECT_TRUE(answer.message.ends_with("\xE5\xAD\x97 …")) << answer.message.substr(answer.message.size() - 20);
}

TEST(TextService, RefusesWhatNeedsAChatTemplateWhereThereIsNone) {
  Texts texts(byte_tokenizer(), nullptr);
  protocol::TokenizeDocument chat = first_piece(1, "x");
  chat.frame = Frame::chat;
  EXPECT_EQ(texts.ask(chat).error, ErrorCode::unsupported);
  const std::vector<protocol::ChatMessage> messages = {{"user", "x"}};
  for (const Kind kind : {Kind::question, Kind::conversation}) {
    const auto answer = texts.ask(protocol::EncodeText{.kind = kind, .messages = messages});
    EXPECT_EQ(answer.error, ErrorCode::unsupported);
    EXPECT_NE(answer.message.find("--chat-template"), std::string::npos);
  }
  EXPECT_EQ(texts.ask<protocol::DecodedText>(protocol::RenderTemplate{.messages = messages}).error,
            ErrorCode::unsupported);
  EXPECT_FALSE(texts.ask(protocol::EncodeText{.kind = Kind::prompt, .text = "x"}).error);
}

}  // namespace
}  // namespace rotulus::worker
